"""A controller with simulated switches behind the real HTTP edge, in a process of its own.

python tests/web/simulated.py CONFIG PORT [--traffic]

It says "ready" on stdout. On stdin it takes one command a line:

    down RLOC, up RLOC      the uplink loses its link, or gets it back
    send SITE SITE          a host of the first site sends to one of the second
    register SITE KEY       an ETR that is none of ours registers for the site
    quit
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "sim")]

import eventlet  # noqa: E402
from eventlet import hubs  # noqa: E402
from test_controller import ControlledNetwork  # noqa: E402

import lisp_sdn.controller  # noqa: E402
import lisp_sdn_runtime  # noqa: E402, F401
from lisp_sdn.actions import Action, Event, FlowCounter, FlowCounters, ReadCounters  # noqa: E402
from lisp_sdn.address import Endpoint, IPAddress  # noqa: E402
from lisp_sdn.api.app import Api  # noqa: E402
from lisp_sdn.api.hints import PAGE, read_hints  # noqa: E402
from lisp_sdn.api.page import Page  # noqa: E402
from lisp_sdn.api.resources.topology import shares  # noqa: E402
from lisp_sdn.apps import page  # noqa: E402
from lisp_sdn.apps.dispatch import Dispatcher  # noqa: E402
from lisp_sdn.apps.events import EventStreams  # noqa: E402
from lisp_sdn.apps.rest import RestServer  # noqa: E402
from lisp_sdn.apps.timers import Timers  # noqa: E402
from lisp_sdn.model import Locator, Mapping  # noqa: E402
from lisp_sdn.rules import CookieClass, match  # noqa: E402
from lisp_sdn.wire import EidRecord, MapRegister, auth  # noqa: E402
from lisp_sdn.xtr.underlay import RlocChanged  # noqa: E402

LOAD_WATCH = 1.0
"""Seconds between two looks at the inbound load: a test does not wait for ten."""

RATE = 250_000.0
"""Octets a second from each site to each other one that it knows."""


class Network(ControlledNetwork):
    """The simulated network on the clock of the wall, as the sinks of a dispatcher."""

    def __init__(self, config_text: str) -> None:
        super().__init__(config_text)
        self.dispatcher = Dispatcher(self.controller)
        self.dispatcher.sinks = self
        self.octets: dict[IPAddress, float] = {}

    @property
    def now(self) -> float:
        return time.time()

    @now.setter
    def now(self, value: float) -> None:
        """The wall decides."""

    def begin(self) -> None:
        self.dispatcher.event(self.controller.start)
        for site in self.sites.values():
            site.connect()
        for site in self.sites.values():
            for number, port in enumerate(site.settings.eid_ports, 1):
                for gateway in port.gateways:
                    address = str(gateway.network.network_address + 1)
                    site.add(number, address, f"02:00:00:00:{number:02x}:{gateway.version:02x}")

    # --- what the dispatcher wants carried out ---

    def _carry(self, action: Action) -> None:
        self.carry_out([action])

    apply_rules = packet_out = read_rules = send_control = _carry

    def announce(self, action: Action) -> None:
        raise AssertionError(action)

    withdraw = shut_neighbour = announce

    def read_counters(self, action: ReadCounters) -> None:
        flows = []
        for entry in self.by_datapath[action.datapath_id].settings.rlocs:
            field = "tun_ipv4_dst" if entry.rloc.version == 4 else "tun_ipv6_dst"
            octets = int(self.octets.get(entry.rloc, 0))
            flows.append(FlowCounter(match(**{field: entry.rloc}), octets // 1000, octets))
        answer = FlowCounters(action.datapath_id, CookieClass.DECAPSULATION, tuple(flows))
        eventlet.spawn_n(self.dispatcher.event, self.controller.counters, answer)

    # --- what happens ---

    def flow(self, seconds: float) -> None:
        """Traffic between sites that know each other, by the RLOCs that they were told."""
        for name in self.sites:
            for entry in self.controller.management.map_cache(name, self.now):
                up = [s.locator for s in entry.locators if s.state.value == "up"]
                for rloc, share in shares(up).items():
                    self.octets[rloc] = self.octets.get(rloc, 0.0) + RATE * share * seconds

    def link(self, rloc: str, *, up: bool) -> None:
        address = ip_address(rloc)
        xtr = next(x.name for x in self.config.xtrs if any(e.rloc == address for e in x.rlocs))
        told = Event("rloc.up" if up else "rloc.down", rloc, {"xtr": xtr, "reason": "uplink"})
        changed = [RlocChanged(xtr, address, up), told]
        self.dispatcher.event(lambda now: self.controller.settle(changed, now))

    def packet(self, source: str, destination: str) -> None:
        target = next(iter(self.sites[destination].hosts.values()))[0]
        site = self.sites[source]
        hosts = next(iter(site.hosts.values()))
        host = next(h for h in hosts if h.address.version == target.address.version)
        self.send(source, 1, host.frame(str(target.address), b"ping"))
        self.dispatcher.done()

    def register(self, site: str, key: str) -> None:
        """As an ETR that is none of ours does it."""
        sites = self.config.sites
        index, settings = next((i, item) for i, item in enumerate(sites) if item.name == site)
        first = ip_address("198.51.101.0") + 2 * index
        rlocs = (Locator(first), Locator(first + 1, 2))
        record = EidRecord.from_mapping(Mapping(settings.eid_prefixes[0].eid, rlocs))
        message = MapRegister(random.getrandbits(63), (record,), proxy_reply=True)
        data = auth.sign(message, 1, key.encode(), 2)
        source = Endpoint(ip_address("192.0.2.200"), 4342)
        self.dispatcher.event(self.controller.receive, data, source)


def serve(config_text: str, port: int, *, traffic: bool) -> None:
    """Until "quit" or the end of stdin."""
    lisp_sdn.controller.LOAD_WATCH = LOAD_WATCH
    network = Network(config_text)
    dispatcher, brain = network.dispatcher, network.controller
    timers = Timers(brain, dispatcher)
    streams = EventStreams(64, lambda: brain.ledger.last_event, dispatcher.report)
    dispatcher.after += [timers.rearm, streams.look]
    files = page.files()
    api = Api(
        brain.management,
        (streams,),
        page=Page(files),
        hints=read_hints(files[PAGE].decode()),
    )
    settings = network.config.rest.model_copy(
        update={"listen": Endpoint(ip_address("127.0.0.1"), port)}
    )
    rest = RestServer(settings, api.handle, dispatcher, streams)
    network.begin()
    for site in network.config.sites:
        if not any(xtr.site == site.name for xtr in network.config.xtrs):
            network.register(site.name, site.authentication_keys[0].key.get_secret_value())
    rest.start()
    if traffic:
        eventlet.spawn(_traffic, network)
    print("ready", flush=True)
    _commands(network)


def _traffic(network: Network) -> None:
    last = time.monotonic()
    while True:
        eventlet.sleep(0.2)
        passed, last = time.monotonic() - last, time.monotonic()
        network.flow(passed)


def _commands(network: Network) -> None:
    commands: dict[str, Any] = {
        "down": lambda rloc: network.link(rloc, up=False),
        "up": lambda rloc: network.link(rloc, up=True),
        "send": network.packet,
        "register": network.register,
    }
    while True:
        hubs.trampoline(sys.stdin, read=True)
        name, *words = sys.stdin.readline().split() or ["quit"]
        if name == "quit":
            return
        commands[name](*words)
        print("done", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--traffic", action="store_true")
    given = parser.parse_args()
    serve(given.config.read_text(), given.port, traffic=given.traffic)
