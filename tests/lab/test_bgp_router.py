"""BGP with a real router: our speaker in one network namespace, GoBGP in another."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.wire import EidRecord, MapRegister, auth

RUN = f"lsb{secrets.token_hex(3)}"
OURS, THEIRS = f"{RUN}o", f"{RUN}t"
PASSWORD = "a-secret-of-bgp"
DEADLINE = 60.0

CONFIG = f"""
control: {{listen: ["10.99.0.1:4342"]}}
sites:
  - name: athens
    authentication_keys: [{{key: a-test-key}}]
    eid_prefixes:
      - {{prefix: 10.1.0.0/17, accept_more_specifics: true}}
      - {{prefix: 10.1.128.0/17, accept_more_specifics: true}}
      - {{prefix: "2001:db8:1::/48"}}
mappings:
  - {{eid_prefix: 10.7.0.0/16, locators: [{{rloc: 203.0.113.1}}]}}
bgp:
  as_number: 64512
  router_id: 10.99.0.1
  listen: 10.99.0.1:179
  neighbours:
    - address: 10.99.0.2
      as_number: 64513
      password: {PASSWORD}
      maximum_prefixes: 3
      prefixes_in: [{{prefix: 10.66.0.0/16, action: deny, minimum_length: 16}},
                    {{prefix: 0.0.0.0/0, minimum_length: 8}}, {{prefix: "::/0", minimum_length: 8}}]
alt: {{hold_down: 1}}
"""

GOBGP = f"""
[global.config]
  as = 64513
  router-id = "10.99.0.2"
  local-address-list = ["10.99.0.2"]
[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.99.0.1"
    peer-as = 64512
    auth-password = "{PASSWORD}"
  [neighbors.timers.config]
    connect-retry = 1
    hold-time = 9
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
"""

SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(bytes.fromhex(sys.argv[1]), ("10.99.0.1", 4342))
"""


def run(*command: str, namespace: str | None = None) -> str:
    inside = ("ip", "netns", "exec", namespace) if namespace else ()
    done = subprocess.run([*inside, *command], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Pair:
    """Both speakers and the link between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.nonce = int(time.time())

    def build(self) -> None:
        for name in (OURS, THEIRS):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "b0", "netns", OURS, "type", "veth", "peer", "b0", "netns", THEIRS)
        for name, address in ((OURS, "10.99.0.1/30"), (THEIRS, "10.99.0.2/30")):
            run("ip", "-n", name, "address", "add", address, "dev", "b0")
            for link in ("lo", "b0"):
                run("ip", "-n", name, "link", "set", link, "up")

    def start_router(self) -> None:
        path = self.folder / "gobgp.toml"
        path.write_text(GOBGP)
        self._start(THEIRS, "gobgpd", "-f", str(path), "--api-hosts", "127.0.0.1:50051")
        until(lambda: self._answers("global"), lambda: "gobgpd does not answer")

    def start_controller(self) -> None:
        (self.folder / "lisp.yaml").write_text(CONFIG)
        ryu = self.folder / "ryu.conf"
        # The log at its most talkative: it must not show the password.
        ryu.write_text(
            f"[DEFAULT]\nverbose = True\n[lisp_sdn]\nconfig = {self.folder / 'lisp.yaml'}\n"
        )
        manager = str(Path(sys.executable).with_name("ryu-manager"))
        self._start(OURS, manager, "--config-file", str(ryu), "lisp_sdn.apps")

    def _start(self, namespace: str, *command: str) -> None:
        with (self.folder / f"{namespace}.log").open("ab") as log:
            inside = ("ip", "netns", "exec", namespace, *command)
            self.started.append(subprocess.Popen(inside, stdout=log, stderr=log))

    def close(self) -> None:
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        for name in (OURS, THEIRS):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=10)

    def log(self) -> str:
        return (self.folder / f"{OURS}.log").read_text(errors="replace")

    # --- the router ---

    def gobgp(self, *arguments: str) -> str:
        return run("gobgp", *arguments, namespace=THEIRS)

    def _answers(self, *arguments: str) -> bool:
        return patient(lambda: bool(self.gobgp(*arguments)))()

    def routes(self) -> dict[str, str]:
        """Prefixes in the router's RIB that came from us, with their next hops."""
        found = {}
        for family in ("ipv4", "ipv6"):
            rib = json.loads(self.gobgp("global", "rib", "-a", family, "-j") or "{}")
            for prefix, paths in (rib or {}).items():
                for attribute in paths[0]["attrs"]:
                    hop = attribute.get("nexthop")
                    if hop and paths[0].get("source-id") == "10.99.0.1":
                        found[prefix] = hop
        return found

    def sees(self, *prefixes: str) -> None:
        until(patient(lambda: set(self.routes()) == set(prefixes)), lambda: str(self.routes()))

    # --- the controller ---

    def register(self, *prefixes: str, ttl_minutes: int = 1440) -> None:
        """A Map-Register of the site."""
        self.nonce += 1
        rloc = Locator(ipaddress.ip_address("192.0.2.1"))
        records = tuple(
            EidRecord.from_mapping(
                Mapping(EidPrefix.from_text(prefix), (rloc,), ttl_minutes=ttl_minutes)
            )
            for prefix in prefixes
        )
        message = MapRegister(self.nonce, records, proxy_reply=True)
        data = auth.sign(message, 1, b"a-test-key", 3)
        run(sys.executable, "-c", SEND, data.hex(), namespace=THEIRS)


def until(what: Callable[[], bool], shows: Callable[[], str]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < deadline, shows()
        time.sleep(0.2)


def patient(what: Callable[[], bool]) -> Callable[[], bool]:
    """A question that gobgp could not carry on a busy machine has no answer yet."""

    def asked() -> bool:
        try:
            return what()
        except (AssertionError, subprocess.TimeoutExpired):
            return False

    return asked


@pytest.fixture(scope="module")
def pair(
    _lab_possible: None,
    cannot_run: Callable[[str], NoReturn],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    if shutil.which("gobgpd") is None or os.geteuid() != 0:
        cannot_run("BGP with a real router needs root and gobgpd")
    made = Pair(tmp_path_factory.mktemp("bgp"))
    try:
        made.build()
        made.start_router()
        made.start_controller()
        yield made
    finally:
        made.close()


def test_eid_prefixes_follow_the_registrations(pair: Pair) -> None:
    pair.sees("10.7.0.0/16")
    # Half of the /16, then all of it, by a more-specific; IPv6 over the same session.
    pair.register("10.1.0.0/17")
    pair.sees("10.7.0.0/16", "10.1.0.0/17")
    pair.register("10.1.200.0/24", "2001:db8:1::/48")
    pair.sees("10.7.0.0/16", "10.1.0.0/16", "2001:db8:1::/48")
    assert pair.routes()["10.1.0.0/16"] == "10.99.0.1"
    # RFC 9301 section 5.6: a TTL of 0 ends the registration; hold_down is one second here.
    pair.register("10.1.0.0/17", "2001:db8:1::/48", ttl_minutes=0)
    pair.sees("10.7.0.0/16", "10.1.128.0/17")


def test_the_filter_and_the_limit_hold(pair: Pair) -> None:
    pair.gobgp("global", "rib", "add", "10.20.0.0/16")
    pair.gobgp("global", "rib", "add", "10.66.1.0/24")
    pair.gobgp("global", "rib", "add", "2001:db8:20::/48", "-a", "ipv6", "nexthop", "2001:db8::1")
    until(lambda: "bgp.session-up" in pair.log(), pair.log)
    pair.sees("10.7.0.0/16", "10.1.128.0/17")
    assert "bgp.neighbour-shut" not in pair.log()
    for third in range(21, 24):
        pair.gobgp("global", "rib", "add", f"10.{third}.0.0/16")
    until(lambda: "bgp.neighbour-shut" in pair.log(), pair.log)
    until(lambda: not pair.routes(), lambda: str(pair.routes()))


def test_the_password_is_in_no_log(pair: Pair) -> None:
    assert "neighbor.create" in pair.log()
    assert PASSWORD not in pair.log()
