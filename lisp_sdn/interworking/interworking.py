"""Proxy-ITRs and Proxy-ETRs for the controller: one thing to tell, one thing to ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lisp_sdn.actions import Action, FlowCounters
from lisp_sdn.address import IPAddress
from lisp_sdn.config import Config, UsePetr, XtrSettings
from lisp_sdn.interworking.proxies import Proxies
from lisp_sdn.interworking.traffic import WAYS, Traffic
from lisp_sdn.model import BgpScope
from lisp_sdn.rlocs import Rlocs
from lisp_sdn.views import (
    Counter,
    LocatorState,
    NativePortState,
    PetrState,
    PetrUser,
    ProxyItrState,
)
from lisp_sdn.xtr.petr import Petrs
from lisp_sdn.xtr.xtr import Xtr

_NO_PROBLEM = ("held-down", "rlocs-drained", "switch-not-connected")
"""Reasons of a Proxy-ITR that are soon over, wanted, or a problem of the xTR itself."""


class Interworking:
    """Where the xTRs of a controller meet what is not LISP."""

    def __init__(self, config: Config, rlocs: Rlocs, xtrs: Mapping[str, Xtr]) -> None:
        self._config = config
        self._xtrs = xtrs
        self._proxies = Proxies(config, rlocs, lambda name, iid: xtrs[name].native_trouble(iid))
        self._traffic = Traffic(config)

    def start(self, now: float) -> list[Action]:
        """Begin."""
        self._traffic.start(now)
        return self._proxies.start(now)

    def configure(self, config: Config, now: float) -> None:
        """Go on under another configuration; `look` then says what it changes."""
        self._config = config
        self._proxies.configure(config, now)
        self._traffic.configure(config, now)

    def connected(self, now: float) -> list[Action]:
        """The rules of a switch are known: its counters are looked at from now on."""
        self._traffic.soon(now)
        return self.look(now)

    def look(self, now: float) -> list[Action]:
        """A switch, a port or an RLOC may have changed: announce and withdraw what follows."""
        return self._proxies.look(now)

    def next_timer(self) -> float | None:
        """When `handle_timer` must be called; None for never."""
        times = (self._proxies.next_timer(), self._traffic.next_timer())
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """Do what is due."""
        actions = self.look(now)
        due = self._traffic.next_timer()
        if due is not None and due <= now:
            there = (x for x in self._xtrs.values() if x.connected_since is not None)
            actions += self._traffic.ask([x.settings.datapath_id for x in there], now)
        return actions

    def counted(self, event: FlowCounters) -> None:
        """The answer to one of our questions."""
        for xtr in self._xtrs.values():
            if xtr.settings.datapath_id == event.datapath_id:
                self._traffic.take(event, xtr.topology)

    # --- what it shows -----------------------------------------------------------------------

    def proxy_itrs(self) -> tuple[ProxyItrState, ...]:
        """Our Proxy-ITRs and what BGP announces for them."""
        return tuple(self._proxies.states())

    def native_ports(self) -> Iterator[NativePortState]:
        """The native ports of our xTRs, Proxy-ETRs among them."""
        for xtr in self._config.xtrs:
            topology = self._xtrs[xtr.name].topology
            for role in topology.roles:
                native = topology.native(role.iid)
                into, out, no, petr, petr_no = (
                    self._traffic.of(xtr.name, role.iid, way) for way in WAYS
                )
                yield NativePortState(
                    xtr.name,
                    role.iid,
                    role.port,
                    native.up if native is not None else None,
                    into,
                    out,
                    no,
                    role.sources,
                    petr,
                    petr_no,
                )

    def petrs(self) -> Iterator[PetrState]:
        """The Proxy-ETRs that our ITRs use."""
        own = {entry.rloc: xtr.name for xtr in self._config.xtrs for entry in xtr.rlocs}
        for used in self._config.use_petr:
            users = [xtr for xtr in self._config.xtrs if self._uses(xtr, used)]
            for entry in used.locators:
                yield PetrState(
                    used.iid,
                    used.when,
                    entry.locator,
                    own.get(entry.rloc),
                    tuple(
                        PetrUser(xtr.name, self._xtrs[xtr.name].rloc_status(entry.locator))
                        for xtr in users
                    ),
                )

    def _uses(self, xtr: XtrSettings, used: UsePetr) -> bool:
        here = any(port.iid == used.iid for port in xtr.eid_ports)
        return here and Petrs(xtr, self._config.use_petr).uses(used)

    def problems(self, sessions: Mapping[IPAddress, bool]) -> Iterator[str]:
        """What an operator should mend. sessions: whether BGP is up, by neighbour."""
        for proxy in self.proxy_itrs():
            if not proxy.healthy and proxy.reason not in _NO_PROBLEM:
                yield f"xtr {proxy.xtr}: its Proxy-ITR attracts no traffic: {proxy.reason}"
        yield from self._unreachable()
        bgp = self._config.bgp
        if bgp is None or not self.proxy_itrs():
            return
        hearing = [n.address for n in bgp.neighbours if n.scope is BgpScope.UNDERLAY]
        if not any(sessions.get(address) for address in hearing):
            names = ", ".join(map(str, hearing))
            yield f"no router hears the Proxy-ITRs: BGP is not up with {names}"

    def _unreachable(self) -> Iterator[str]:
        """ITRs that reach none of the Proxy-ETRs that they are to use."""
        reached: dict[tuple[str, int, str], bool] = {}
        for petr in self.petrs():
            for user in petr.users:
                key = (user.xtr, petr.iid, petr.when)
                there = user.status.state not in (LocatorState.UNREACHABLE, LocatorState.NO_ROUTE)
                reached[key] = there or reached.get(key, False)
        for (xtr, iid, _), there in reached.items():
            if not there:
                yield f"xtr {xtr}: no Proxy-ETR of instance-ID {iid} is reachable"

    def counters(self) -> Iterable[Counter]:
        """Every counter."""
        return self._traffic.counters()
