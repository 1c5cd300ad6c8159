"""`lispctl show`, `mapping`, `clear` and `resolve` against the API over loopback HTTP."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lispctl_server import Controller, serving

from lisp_sdn.model import Act, Mapping
from lisp_sdn.views import EventEntry, MappingEntry, Origin

from api_fake import NOW, FakeBackend, eid, filled, locator  # isort: skip


@pytest.fixture(scope="module")
def ctl() -> Iterator[Controller]:
    """For commands that change nothing."""
    with serving(filled()) as controller:
        yield controller


@pytest.fixture
def own() -> Iterator[Controller]:
    """For commands that change something."""
    with serving(filled()) as controller:
        yield controller


def rows(output: str) -> list[list[str]]:
    """The cells of a table, split at two or more blanks."""
    lines = [line for line in output.splitlines() if line.strip()]
    return [[cell for cell in line.split("  ") if cell.strip()] for line in lines]


def cells(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in rows(output)]


# --- show --------------------------------------------------------------------------------


def test_show_site_lists_sites(ctl: Controller) -> None:
    lines = cells(ctl("show", "site").stdout)
    assert lines[0] == ["Site", "EID-prefixes", "Up", "Last register", "Registrations", "xTRs"]
    assert lines[1] == ["east", "[42] 10.1.0.0/16", "yes", "00:00:20", "2", "xtr-east"]
    assert lines[2] == ["west", "[42] 10.2.0.0/16", "no", "-", "0", "xtr-west"]


def test_show_site_with_a_name_adds_what_it_registered(ctl: Controller) -> None:
    result = ctl("show", "site", "east")
    assert "[42] 10.1.0.0/16, accepts more-specifics" in result.stdout
    assert "1 (hmac-sha256-128+hkdf-sha256)" in result.stdout
    assert "very-secret" not in result.output
    assert cells(result.stdout)[-1] == [
        "[42] 10.1.0.0/24",
        "192.0.2.1 1/100",
        "192.0.2.1:4342",
        "00:08:20",
        "00:02:40",
    ]
    document = json.loads(ctl("--json", "show", "site", "east").stdout)
    assert len(document["registered"]) == 2
    assert "lispctl show refusals" in ctl("show", "site", "west").stdout


def test_show_xtr(ctl: Controller) -> None:
    lines = cells(ctl("show", "xtr").stdout)
    assert lines[1] == [
        "xtr-east",
        "east",
        "0000000000000001",
        "00:00:50",
        "192.0.2.1 up",
        "0",
        "tunnel port lisp0 is missing",
    ]
    assert lines[2][3] == "no"
    result = ctl("show", "xtr", "xtr-east")
    assert "eth1 [42] 10.1.0.1/24 up" in result.stdout
    assert "4.0 ms" in result.stdout
    assert "! tunnel port lisp0 is missing" in result.stdout
    assert json.loads(ctl("show", "xtr", "xtr-east", "--json").stdout)["flows"] == 9


def test_show_petr(ctl: Controller) -> None:
    lines = cells(ctl("show", "petr").stdout)
    first = ["42", "192.0.2.200", "1/100", "always", "-", "xtr-east", "up", "2.0 ms"]
    assert lines[1] == first
    assert ["42", "192.0.2.201", "2/100", "always", "xtr-west", "-", "-", "-"] in lines
    up = ["xtr-west", "42", "native0", "up", "00:01:00", "10.0.0.0/8", "192.0.2.2", "yes"]
    assert up in lines
    down = ["xtr-east", "42", "native0", "rlocs-down", "00:00:05", "2001:db8::/32", "-", "no"]
    assert down in lines
    assert ["xtr-west", "42", "native0", "yes", "3", "3", "3", "10.1.0.0/16", "3"] in lines
    assert json.loads(ctl("--json", "show", "petr").stdout)["petrs"][0]["iid"] == 42


def test_show_alt(ctl: Controller) -> None:
    output = ctl("show", "alt").stdout
    lines = cells(output)
    assert ["Announced", "10.1.0.0/16"] in lines
    assert ["Held down", "10.1.0.0/16, withdrawn in 00:01:00"] in lines
    assert "! the bridge has no port gre2" in output
    tunnel = ["gre1", "10.99.0.1", "10.99.0.2", "192.0.2.7", "up", "up", "2", "7"]
    assert tunnel in lines
    assert ["10.2.0.0/16", "10.99.0.2", "gre1", "64513 64514", "5"] in lines
    document = json.loads(ctl("--json", "show", "alt").stdout)
    assert document["best_routes"][0]["prefix"] == "10.2.0.0/16"
    assert document["packets"]["alt-no-route"] == 1


def test_show_bgp(ctl: Controller) -> None:
    lines = cells(ctl("show", "bgp").stdout)
    up = ["10.99.0.2", "64513", "alt", "up", "00:01:00", "2", "100", "40", "yes"]
    assert up in lines
    assert ["192.0.2.9", "64520", "underlay", "shut", "-", "0", "10", "9", "no"] in lines
    assert json.loads(ctl("--json", "show", "bgp").stdout)["as_number"] == 64512


def test_show_registrations(ctl: Controller) -> None:
    lines = cells(ctl("show", "registrations").stdout)
    assert lines[1][-1] == "east"
    assert len(lines) == 3
    assert "nothing is registered" in ctl("show", "registrations", "--site", "west").stdout


def test_show_mappings(ctl: Controller) -> None:
    lines = cells(ctl("show", "mappings").stdout)
    assert lines[1] == ["2001:db8::/32", "negative: drop-no-reason", "1440", "static", "-"]
    assert lines[3] == ["[42] 10.2.0.0/16", "192.0.2.2 2/30", "1440", "static", "-"]
    one = ctl("show", "mappings", "--covering", "10.2.3.4", "--iid", "42", "--json")
    assert [entry["eid"] for entry in json.loads(one.stdout)] == ["[42] 10.2.0.0/16"]


def test_every_page_of_a_long_list_is_shown() -> None:
    backend = FakeBackend()
    backend.add(
        *(
            MappingEntry(Mapping(eid(f"10.{n // 256}.{n % 256}.0/24")), Origin.STATIC)
            for n in range(250)
        )
    )
    with serving(backend) as controller:
        assert len(json.loads(controller("--json", "show", "mappings").stdout)) == 250
        assert len(cells(controller("show", "mappings").stdout)) == 251
        few = controller("show", "mappings", "--limit", "3")
    assert len(cells(few.stdout)) == 4
    assert "more than 3 entries" in few.stderr


def test_show_refusals_tells_why(ctl: Controller) -> None:
    lines = cells(ctl("show", "refusals").stdout)
    assert lines[1] == [
        "00:00:01",
        "3",
        "map-server",
        "bad_digest",
        "198.51.100.7:4342",
        "site east",
    ]
    assert "\nbad_digest: another key\n" in ctl("show", "refusals").stdout
    assert len(json.loads(ctl("--json", "show", "refusals", "--reason", "truncated").stdout)) == 1


def test_a_refused_list_prints_no_json(ctl: Controller) -> None:
    result = ctl("--json", "show", "flows", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no xTR 'nobody'" in result.stderr


def test_show_events(ctl: Controller) -> None:
    lines = cells(ctl("show", "events", "--kind", "map-cache").stdout)
    assert [line[0] for line in lines[1:]] == ["2", "3"]
    assert lines[1][2:] == ["map-cache.added", "[42] 10.1.0.0/24", "xtr=xtr-west"]


def test_show_events_reads_every_page() -> None:
    backend = FakeBackend()
    backend.happened = [EventEntry(n, NOW, "a.b", "c") for n in range(1, 2501)]
    with serving(backend) as controller:
        assert len(json.loads(controller("--json", "show", "events").stdout)) == 2500


def test_show_counters(ctl: Controller) -> None:
    lines = cells(ctl("show", "counters").stdout)
    assert lines[1] == ["dropped", "reason=bad_digest where=map-server", "3.0"]


def test_show_flows(ctl: Controller) -> None:
    lines = cells(ctl("show", "flows", "xtr-west").stdout)
    assert lines[1] == ["0", "0", "-", "drop", "-"]
    assert lines[2] == [
        "3",
        "100",
        "eth_type=2048 ipv4_dst=10.1.0.0/24 metadata=0x2a/0xffff",
        "set-field(field=tunnel_id,value=42) to-group(group_id=5)",
        "map-cache",
    ]


def test_show_map_requests(ctl: Controller) -> None:
    lines = cells(ctl("show", "map-requests", "xtr-west").stdout)
    assert lines[1][1:] == [
        "[42] 10.1.0.5/32",
        "[42] 10.2.0.7/32",
        "192.0.2.2",
        "[42] 10.1.0.0/24 192.0.2.1 1/100",
    ]
    assert lines[2][-1] == "none yet"
    assert len(json.loads(ctl("show", "map-requests", "xtr-west", "--json").stdout)) == 2


@pytest.mark.parametrize(
    "what",
    ["site", "xtr", "registrations", "mappings", "refusals", "events", "counters", "map-cache"],
)
def test_every_list_is_json_with_the_option_in_either_place(ctl: Controller, what: str) -> None:
    before, after = ctl("--json", "show", what), ctl("show", what, "--json")
    assert isinstance(json.loads(before.stdout), list)
    assert before.stdout == after.stdout
    assert before.stderr == ""


def test_show_source_guard(ctl: Controller) -> None:
    lines = ctl("show", "source-guard").stdout.splitlines()
    head = next(n for n, line in enumerate(lines) if "xtr-west" in line)
    assert lines[head] == "Source guard of xTR xtr-west, mode enforce: 3 verdicts"
    assert lines[head + 1].startswith(
        "  [42] 10.2.0.0/24  from 192.0.2.1     allowed, via map-reply"
    )
    assert "from 203.0.113.66  source-rloc-mismatch, via database" in lines[head + 2]
    assert lines[head + 2].endswith("17 packets")
    refused = json.loads(ctl("--json", "show", "source-guard", "--refused").stdout)
    assert [(entry["xtr"], entry["port"]) for entry in refused] == [
        ("xtr-west", None),
        ("xtr-west", "p1"),
    ]


# --- mapping -----------------------------------------------------------------------------


def test_mapping_set_adds_then_replaces(own: Controller) -> None:
    added = own(
        "mapping", "set", "[7] 10.0.0.0/8", "--rloc", "192.0.2.9,1/70", "--rloc", "2001:db8::9"
    )
    assert (added.exit_code, added.stdout) == (0, "added [7] 10.0.0.0/8\n")
    assert own.backend.database[eid("[7] 10.0.0.0/8")].mapping.locators == (
        locator("192.0.2.9", 1, 70),
        locator("2001:db8::9"),
    )
    again = own("mapping", "set", "10.0.0.0/8", "--iid", "7", "--action", "drop-no-reason")
    assert again.stdout == "replaced [7] 10.0.0.0/8\n"
    assert own.backend.database[eid("[7] 10.0.0.0/8")].mapping.action is Act.DROP_NO_REASON
    assert own("mapping", "set", "[7] 10.0.0.0/8", "--rloc", "192.0.2.1", "--new").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["10.0.0.0/8"], 2, "expected --rloc"),
        (["10.0.0.0/8", "--rloc", "x"], 2, "'x', expected RLOC or RLOC,PRIORITY/WEIGHT"),
        (["10.0.0.0/8", "--rloc", "192.0.2.1,1"], 2, "PRIORITY/WEIGHT"),
        (["10.0.0.0/8", "--rloc", "192.0.2.1,1/999"], 1, "locators.0.weight: 999"),
        (["10.0.0.1/8", "--rloc", "192.0.2.1"], 1, "has host bits set"),
        (["10.0.0.0/8", "--rloc", "224.0.0.1"], 1, "not a unicast address"),
    ],
)
def test_a_wrong_mapping_is_refused_with_the_reason(
    own: Controller, arguments: list[str], status: int, words: str
) -> None:
    result = own("mapping", "set", *arguments)
    assert result.exit_code == status
    assert words in result.stderr


def test_mapping_delete(own: Controller) -> None:
    assert own("mapping", "delete", "[42] 10.2.0.0/16", "--if-match", '"old"').exit_code == 1
    assert own("mapping", "delete", "[42] 10.2.0.0/16").stdout == "deleted [42] 10.2.0.0/16\n"
    gone = own("mapping", "delete", "[42] 10.2.0.0/16")
    assert gone.exit_code == 1
    assert "there is no mapping '[42] 10.2.0.0/16'" in gone.stderr


def test_an_etag_of_one_command_serves_the_next(own: Controller) -> None:
    arguments = ("mapping", "set", "10.0.0.0/8", "--rloc", "192.0.2.1", "--json")
    tag = json.loads(own(*arguments).stdout)["etag"]
    assert own(*arguments, "--ttl-minutes", "5", "--if-match", tag).exit_code == 0
    assert own(*arguments, "--if-match", tag).exit_code == 1


def test_an_export_is_imported_in_chunks(own: Controller) -> None:
    own.backend.add(
        *(
            MappingEntry(Mapping(eid(f"10.{n // 256}.{n % 256}.0/24")), Origin.STATIC)
            for n in range(1200)
        )
    )
    exported = own("mapping", "export").stdout
    assert len(exported.splitlines()) == 1202
    with serving(FakeBackend()) as other:
        result = other("mapping", "import", "-", input=exported)
        assert result.stdout == "1202 mappings set\n"
        assert [method for method, _, _ in other.seen] == ["POST", "POST"]
        assert other("mapping", "export").stdout == exported


def test_a_wrong_line_of_an_import_is_named(own: Controller) -> None:
    result = own("mapping", "import", "-", input='{"eid": "10.0.0.0/8"}\n{"eid": "10.0.0.1/8"}\n')
    assert result.exit_code == 1
    assert "nothing was changed" in result.stderr
    assert "line 2, eid: " in result.stderr


# --- clear, resolve ----------------------------------------------------------------------


def test_clear_map_cache(own: Controller) -> None:
    assert own("clear", "map-cache", "xtr-west", "[42] 10.9.0.0/16").stdout == "1 entry cleared\n"
    assert own("clear", "map-cache", "xtr-west", "10.9.0.0/16", "--iid", "42").exit_code == 1
    assert json.loads(own("clear", "map-cache", "xtr-west", "--json").stdout) == {"removed": 3}
    assert own("clear", "map-cache", "xtr-west").stdout == "0 entries cleared\n"
    assert own("clear", "map-cache", "nowhere").exit_code == 1


def test_drain_and_undrain(own: Controller) -> None:
    drained = "192.0.2.1 of xtr-east: drained; traffic uses other RLOCs\n"
    assert own("xtr", "drain", "192.0.2.1").stdout == drained
    assert json.loads(own("xtr", "undrain", "192.0.2.1", "--json").stdout) == {
        "rloc": "192.0.2.1",
        "xtr": "xtr-east",
        "drained": False,
    }
    assert own("xtr", "drain", "192.0.2.99").exit_code == 1


def test_resolve(ctl: Controller) -> None:
    result = ctl("resolve", "[42] 10.2.0.5", "--from", "10.1.0.1", "--xtr", "xtr-east")
    assert result.exit_code == 0
    shown = dict(line[:2] for line in cells(result.stdout))
    assert shown["EID-prefix"] == "[42] 10.2.0.0/16"
    assert shown["Decided by"] == "policy rule partner"
    document: Any = json.loads(ctl("--json", "resolve", "10.2.0.5", "--iid", "42").stdout)
    assert document["mapping"]["locators"][0]["rloc"] == "192.0.2.2"


def test_a_negative_answer_is_status_1(ctl: Controller) -> None:
    result = ctl("resolve", "[42] 10.77.0.1")
    assert result.exit_code == 1
    assert "negative: natively-forward" in result.stdout


# --- events that come, archive ------------------------------------------------------------


def test_events_are_followed(own: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    def next_look(seconds: float) -> None:
        nonlocal looked
        looked += 1
        if looked == 3:
            raise KeyboardInterrupt
        own.backend.happened.append(EventEntry(3 + looked, NOW, "rloc.down", "192.0.2.1"))

    monkeypatch.setattr("lisp_sdn.cli.lispctl_history.time.sleep", next_look)
    result = own("show", "events", "--follow", "--json")
    ids = [json.loads(line)["id"] for line in result.stdout.splitlines() if line.startswith("{")]
    assert ids == [1, 2, 3, 4, 5]


def test_sysdump_collects_everything_without_secrets(own: Controller, tmp_path: Path) -> None:
    file = tmp_path / "dump.tar.gz"
    result = own("sysdump", str(file))
    assert result.exit_code == 0
    assert result.stdout == f"{file}: 31 files\n"
    with tarfile.open(file) as archive:
        found = {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
        }
    assert len(found) == 31
    cache = json.loads(found["lisp-sysdump/xtrs-xtr-west-map-cache.json"])
    assert len(cache) == 4
    assert json.loads(found["lisp-sysdump/status.json"])["xtrs"] == 2
    for name in ("interworking", "alt", "bgp", "mobile-eids", "configuration"):
        assert f"lisp-sysdump/{name}.json" in found
    assert len(json.loads(found["lisp-sysdump/events.json"])) == 3
    assert not any(b"very-secret" in data for data in found.values())
    again = own("sysdump", str(file))
    assert again.exit_code == 2
    assert "exists already" in again.stderr


# --- mobile EIDs -------------------------------------------------------------------------


def test_show_mobile_eids(ctl: Controller) -> None:
    lines = cells(ctl("show", "mobile-eids").stdout)
    assert lines[0] == [
        *("EID", "xTR", "Port", "MAC address", "State", "Since", "Seen", "Moves", "Note")
    ]
    mac = "02:00:00:00:01:01"
    assert lines[1] == [
        *("[42] 10.1.0.5/32", "xtr-west", "eth1", mac, "held-down", "00:01:00", "00:00:05", "3"),
        "may move in 00:00:30",
    ]
    assert lines[2][-1] == "also at xtr-east eth1 02:00:00:00:66:66"
    assert lines[3][4:] == ["away", "00:01:30", "00:00:05", "3", "-"]
    (away,) = json.loads(ctl("--json", "show", "mobile-eids", "--state", "away").stdout)
    assert away["eid"] == "[42] 10.1.0.7/32"
