"""The edges: the only code that imports ryu, eventlet and webob.

    ryu-manager lisp_sdn.apps
    ryu-manager --config-file /etc/lisp-sdn/ryu.conf lisp_sdn.apps

ryu-manager loads only a class that is defined in the module it was given, so the application is
here; what it is made of is in the files beside this one.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import eventlet
from eventlet import hubs
from prometheus_client import PlatformCollector, ProcessCollector
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_3

from lisp_sdn.actions import (
    Announce,
    ApplyRules,
    PacketOut,
    ReadCounters,
    ReadRules,
    Reconfigured,
    SendControl,
    ShutNeighbour,
    Withdraw,
)
from lisp_sdn.address import Endpoint
from lisp_sdn.api.app import Api
from lisp_sdn.api.hints import PAGE, read_hints
from lisp_sdn.api.page import Page
from lisp_sdn.apps import log, ovsdb, ovsdb_alt, page, settings
from lisp_sdn.apps.bgp import Bgp
from lisp_sdn.apps.control import ControlSockets, ListenError
from lisp_sdn.apps.dispatch import Dispatcher
from lisp_sdn.apps.durability import Durability
from lisp_sdn.apps.events import EventStreams
from lisp_sdn.apps.express import ExpressEdge
from lisp_sdn.apps.log import LOGGER
from lisp_sdn.apps.rest import RestServer
from lisp_sdn.apps.switch import Switch
from lisp_sdn.apps.switches import Switches, take_messages
from lisp_sdn.apps.timers import Timers
from lisp_sdn.config import Config
from lisp_sdn.controller import Controller
from lisp_sdn.errors import ConfigError, StoreError
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.store import MemoryStore, Store

STOP_TIMEOUT = 5.0
"""Seconds in which everything must have ended after SIGTERM."""


class Sinks:
    """Carries out actions by handing each to the edge that can.

    bgp: None when none is configured; then no core asks for anything of it.
    """

    def __init__(
        self,
        control: ControlSockets,
        switches: Switches,
        bgp: Bgp | None,
        follow: Callable[[Config], None],
    ) -> None:
        self._control = control
        self._switches = switches
        self._bgp = bgp
        self._follow = follow

    def send_control(self, action: SendControl) -> None:
        """By UDP."""
        self._control.send(action)

    def apply_rules(self, action: ApplyRules) -> None:
        """By OpenFlow."""
        self._switches.apply_rules(action)

    def packet_out(self, action: PacketOut) -> None:
        """By OpenFlow."""
        self._switches.packet_out(action)

    def read_rules(self, action: ReadRules) -> None:
        """By OpenFlow."""
        self._switches.read_rules(action)

    def read_counters(self, action: ReadCounters) -> None:
        """By OpenFlow."""
        self._switches.read_counters(action)

    def announce(self, action: Announce) -> None:
        """By BGP."""
        assert self._bgp is not None
        self._bgp.announce(action)

    def withdraw(self, action: Withdraw) -> None:
        """By BGP."""
        assert self._bgp is not None
        self._bgp.withdraw(action)

    def shut_neighbour(self, action: ShutNeighbour) -> None:
        """By BGP."""
        assert self._bgp is not None
        self._bgp.shut_neighbour(action)

    def reconfigured(self, action: Reconfigured) -> None:
        """The edges read the configuration as well."""
        assert isinstance(action.config, Config)
        self._follow(action.config)


class LispSdnApp(app_manager.RyuApp):
    """The Ryu application: joins the controller to sockets, switches, timers and HTTP."""

    OFP_VERSIONS = (ofproto_v1_3.OFP_VERSION,)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Reads the configuration and binds every port; nothing is started when one fails."""
        super().__init__(*args, **kwargs)
        settings.register()
        try:
            self.config = settings.load()
            log.configure(self.config.log)
            self.brain = Controller(
                self.config, store=_store(self.config), rng=random.SystemRandom()
            )
            self.dispatcher = Dispatcher(self.brain)
            express = ExpressEdge(self.brain.express, self.dispatcher)
            self.switches = Switches(self.brain, self.dispatcher, self._verify, express)
            self.control = ControlSockets(
                self._datagram,
                self.dispatcher.report,
                lambda data, version: self.brain.quick(data, version, self.dispatcher.clock()),
            )
            bgp = self.config.bgp
            self.bgp = None if bgp is None else Bgp(bgp, self.brain, self.dispatcher)
            self.dispatcher.sinks = Sinks(self.control, self.switches, self.bgp, self._follow)
            self.brain.reloading.read = settings.read
            self.timers = Timers(self.brain, self.dispatcher)
            self.durability = Durability(self.brain, self.dispatcher)
            self.dispatcher.after += [self.timers.rearm, self.durability.look]
            _check_openflow_port()
            self.control.listen(self.config.control.listen)
            self.streams = EventStreams(
                self.config.limits.event_streams,
                lambda: self.brain.ledger.last_event,
                self.dispatcher.report,
            )
            self.dispatcher.after += [self._performed, self.streams.look]
            metrics = (ProcessCollector(registry=None), PlatformCollector(registry=None))
            files = page.files()
            api = Api(
                self.brain.management,
                (*metrics, self.streams),
                page=Page(files),
                hints=read_hints(files[PAGE].decode()),
            )
            self.rest = RestServer(
                self.config.rest, api.handle, self.dispatcher, self.streams, api.body_room
            )
        except (ConfigError, ListenError, StoreError) as error:
            # Before any thread is started: said in plain lines, and ryu-manager ends.
            print(error, file=sys.stderr)
            raise SystemExit(1) from None

    def start(self) -> Any:
        """Called by ryu-manager when every application is made."""
        super().start()
        take_messages(self.switches.message)
        stopper = eventlet.spawn(self._wait_for_signal, eventlet.getcurrent())
        if self.bgp is not None and self.config.bgp is not None:
            self.bgp.start()
            speaker = self.config.bgp
            LOGGER.info("BGP: AS %d, listening on TCP %s", speaker.as_number, speaker.listen)
        self.dispatcher.event(self.brain.start)
        # What was recovered stays: the garbage collector need not walk it again and again. Nor is
        # there much for it: reference counts free what an event leaves.
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        self.control.start()
        self.rest.start()
        host, port = settings.openflow_endpoint()
        LOGGER.info("OpenFlow: listening on TCP %s:%d", host, port)
        LOGGER.info("LISP control: listening on UDP %s", settings.describe(self.control.endpoints))
        LOGGER.info("REST: listening on %s/lisp/v1", self.rest.url)
        if self.config.rest.scheme == "http" and not self.rest.endpoint.address.is_loopback:
            LOGGER.warning("REST: tokens cross the network as plain text; rest.tls prevents that")
        return stopper

    def close(self) -> None:
        """Called by ryu-manager at its end."""
        self.timers.stop()
        if self.bgp is not None:
            self.bgp.close()
        self.control.close()
        self.streams.close()
        self.rest.close()
        self.switches.close()
        try:
            self.durability.close()
        except StoreError as error:
            LOGGER.error("store: %s", error)
        LOGGER.info("stopped")

    def _follow(self, config: Config) -> None:
        """Another configuration is in force."""
        self.config = config
        log.configure(config.log)
        self.streams.limit = config.limits.event_streams
        self.switches.each(self._verify)

    # --- events ---

    def _performed(self) -> None:
        self.brain.performed(self.dispatcher.clock())

    def _datagram(self, data: bytes, source: Endpoint) -> None:
        self.dispatcher.event(self.brain.receive, data, source)

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def _state_changed(self, event: Any) -> None:
        if event.state == MAIN_DISPATCHER:
            self.switches.up(event.datapath)
        elif event.datapath.id is not None:
            self.switches.down(event.datapath)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def _port_status(self, event: Any) -> None:
        message = event.msg
        gone = message.reason == ofproto_v1_3.OFPPR_DELETE
        switch = self.switches.port_status(message.datapath, message.desc, gone=gone)
        if switch is not None and message.reason != ofproto_v1_3.OFPPR_MODIFY:
            self._verify(switch)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def _error(self, event: Any) -> None:
        message = event.msg
        self.switches.error(message.datapath, message.type, message.code, message.xid)

    # --- is the switch as it should be? ---

    def _verify(self, switch: Switch) -> None:
        alt = self.config.alt.bridge if self.config.alt is not None else None
        if alt is not None and alt.datapath_id == switch.datapath_id:
            eventlet.spawn_n(self._verify_ports, "alt", partial(ovsdb_alt.problems, alt), switch)
        xtr = next((x for x in self.config.xtrs if x.datapath_id == switch.datapath_id), None)
        if xtr is not None:
            look = partial(ovsdb.problems, xtr)
            eventlet.spawn_n(self._verify_ports, f"xtr {xtr.name}", look, switch)

    def _verify_ports(self, name: str, look: Callable[[], list[str]], switch: Switch) -> None:
        try:
            problems = look()
        except ovsdb.OvsdbError as error:
            text = "%s: only the names of its ports are verified, not the options of tunnels: %s"
            LOGGER.warning(text, name, error)
            return
        for problem in problems:
            LOGGER.warning("%s: %s", name, problem)
        self.dispatcher.event(self.brain.switch_checked, switch.datapath_id, tuple(problems))

    # --- the end ---

    def _wait_for_signal(self, main: Any) -> None:
        """SIGHUP reloads; SIGTERM and SIGINT are a clean end of ryu-manager with status 0.

        A signal handler may run in the middle of anything, so it only leaves a note in a pipe.
        """
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        while True:
            hubs.trampoline(reader, read=True)
            received = os.read(reader, 64)
            if received.strip(bytes((signal.SIGHUP,))):
                break
            self.dispatcher.event(self.brain.reloading.signalled)
        LOGGER.info("stopping")
        # Should something hang, the end comes all the same.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, STOP_TIMEOUT)
        hubs.get_hub().schedule_call_global(0, main.throw, SystemExit(0))


def _store(config: Config) -> Store:
    path = config.store.path
    return MemoryStore() if path is None else SqliteStore(path)


def _check_openflow_port() -> None:
    """Ryu binds this port later, and does not end when it cannot. Raises ListenError."""
    host, port = settings.openflow_endpoint()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ListenError(
                f"OpenFlow: cannot listen on TCP {host}:{port}: {error.strerror}"
            ) from None
