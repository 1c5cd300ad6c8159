"""lispctl against the API over loopback HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from lispctl_server import Controller, run, serving

from lisp_sdn.cli._output import duration

from api_fake import CONFIG, FakeBackend, filled  # isort: skip


@pytest.fixture(scope="module")
def ctl() -> Iterator[Controller]:
    """For commands that change nothing."""
    with serving(filled()) as controller:
        yield controller


# --- check -------------------------------------------------------------------------------


def test_check_says_what_a_correct_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "lisp.yaml"
    file.write_text(CONFIG)
    result = run("check", str(file))
    assert result.exit_code == 0
    assert result.stdout == f"{file}: correct: 2 sites, 2 xtrs, 0 mappings, 0 policies\n"
    assert json.loads(run("check", str(file), "--json").stdout)["correct"] is True


def test_check_prints_every_problem_with_file_path_value_and_expectation(tmp_path: Path) -> None:
    file = tmp_path / "lisp.yaml"
    file.write_text(
        "sites: [{name: a b}]\nxtrs: [{name: x, datapath_id: zz, rlocs: []}]\nmore: 1\n"
    )
    result = run("check", str(file))
    assert result.exit_code == 1
    assert f"{file}: sites[0].name: 'a b'" in result.stderr
    assert f"{file}: xtrs[0].datapath_id: 'zz' is not a datapath id" in result.stderr
    assert f"{file}: more: unknown key" in result.stderr
    assert "5 problems" in result.stderr
    document = json.loads(run("--json", "check", str(file)).stdout)
    assert document["correct"] is False
    messages = {entry["path"]: entry["message"] for entry in document["problems"]}
    assert messages["more"].startswith("unknown key, expected one of sites, xtrs, mappings, ")


def test_check_reads_standard_input() -> None:
    assert run("check", "-", input="xtrs: 5").exit_code == 1
    result = run("check", "-", input=b"\xff")
    assert result.exit_code == 1
    assert "standard input: (top): octet 0 is not UTF-8" in result.stderr


def test_check_of_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    assert run("check", str(tmp_path / "none.yaml")).exit_code == 2


# --- errors ------------------------------------------------------------------------------


def test_an_unreachable_controller_is_status_3() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = run("--url", url, "status")
    assert result.exit_code == 3
    assert f"no answer from {url}: [Errno 111] Connection refused" in result.stderr


def test_another_server_than_ours_is_status_3(ctl: Controller) -> None:
    result = run("--url", f"{ctl.url}/other", "status")
    assert result.exit_code == 1, "our own 404 is a refusal"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        import threading

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        result = run("--url", url, "status")
        thread.join(5)
    assert result.exit_code == 3
    assert "status 302" in result.stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://user:pw@127.0.0.1"])
def test_a_bad_url_is_wrong_use(url: str) -> None:
    assert run("--url", url, "status").exit_code == 2


def test_an_unknown_name_is_status_1_with_the_known_ones(ctl: Controller) -> None:
    result = ctl("show", "map-cache", "--xtr", "north")
    assert result.exit_code == 1
    assert "there is no xTR 'north'; configured: xtr-east, xtr-west" in result.stderr


def test_the_token_is_sent_and_never_printed(ctl: Controller) -> None:
    result = ctl("status", LISPCTL_TOKEN="top-secret")
    assert ctl.seen[-1][2]["Authorization"] == "Bearer top-secret"
    assert "top-secret" not in result.output


def test_the_url_may_come_from_the_environment(ctl: Controller) -> None:
    assert run("status", LISPCTL_URL=ctl.url).exit_code == 0


def test_no_proxy_is_asked(ctl: Controller) -> None:
    assert ctl("status", http_proxy="http://127.0.0.1:1").exit_code == 0


# --- what is shown -----------------------------------------------------------------------


def test_status_tells_counts_and_problems(ctl: Controller) -> None:
    result = ctl("status")
    assert result.exit_code == 0
    assert "00:01:40" in result.stdout
    assert "1 of 2 connected" in result.stdout
    assert "! xTR xtr-east: tunnel port lisp0 is missing" in result.stdout
    assert "! RLOC 203.0.113.9 does not answer RLOC-probes of xTR xtr-west" in result.stdout
    assert "! refused lately, see lispctl show refusals: bad_digest (map-server, " in result.stdout
    assert json.loads(ctl("status", "--json").stdout)["xtrs"] == 2


def test_the_map_cache_is_printed_as_routers_do(ctl: Controller) -> None:
    result = ctl("show", "map-cache", "--xtr", "xtr-west")
    assert result.exit_code == 0
    assert result.stdout == (
        "LISP map-cache of xTR xtr-west\n"
        "[42] 10.1.0.0/24, uptime: 11:47:25, expires: 00:06:30, via map-reply, complete\n"
        "  Policy rule: partner\n"
        "  Locator    Uptime    State        Pri/Wgt\n"
        "  192.0.2.1  00:01:00  up             1/100\n"
        "  192.0.2.9  00:00:05  down           2/0\n"
        "srcdst:[42] 10.2.7.0/24|[42] 10.1.0.0/24, uptime: 00:00:03, expires: never, "
        "via map-reply, complete\n"
        "  Locator    Uptime    State        Pri/Wgt\n"
        "  192.0.2.9  -         unknown        1/100\n"
        "[42] 10.8.0.1/32, uptime: 00:00:01, expires: never, via map-reply, incomplete\n"
        "  Map-Request sent, no Map-Reply yet\n"
        "[42] 10.9.0.0/16, uptime: 00:00:03, expires: 00:14:57, via map-reply, complete\n"
        "  Negative cache entry, action: natively-forward\n"
    )


def test_the_map_cache_of_every_xtr(ctl: Controller) -> None:
    result = ctl("show", "map-cache", "10.9.1.1", "--iid", "42")
    assert "LISP map-cache of xTR xtr-east: empty" in result.stdout
    assert "10.9.0.0/16" in result.stdout
    assert "10.1.0.0/24" not in result.stdout
    items = json.loads(ctl("--json", "show", "map-cache").stdout)
    assert {entry["xtr"] for entry in items} == {"xtr-west"}
    assert len(items) == 4


def test_a_limit_is_told(ctl: Controller) -> None:
    result = ctl("show", "map-cache", "--xtr", "xtr-west", "--limit", "1")
    assert result.stdout.count("uptime:") == 1
    assert "more than 1 entries; see --limit" in result.stderr


def test_an_empty_list_is_json_too() -> None:
    with serving(FakeBackend()) as ctl:
        assert json.loads(ctl("--json", "show", "map-cache").stdout) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_LISPCTL_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "00:00:00"), (-3, "00:00:00"), (42445, "11:47:25"), (90000, "1d01h"), (800000, "1w2d")],
)
def test_durations_read_as_on_routers(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
