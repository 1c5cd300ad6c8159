"""Which EID-prefixes BGP announces for Proxy-ITRs of ours (RFC 6832 section 5.1).

A Proxy-ITR attracts traffic only while it can forward: its switch is connected, native port and
tunnel port are there and up, and an RLOC has an uplink and is not drained. When that ends, its
EID-prefixes are withdrawn at once; they come back when it has been well for a while. Where several
Proxy-ITRs of this controller have the same EID-prefix, one of them is its next hop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lisp_sdn.actions import Action, Announce, Event, Withdraw
from lisp_sdn.address import IPAddress, IPNetwork
from lisp_sdn.config import Config, XtrSettings
from lisp_sdn.config.interworking import NativePort, ProxyItr
from lisp_sdn.config.proxies import proxies
from lisp_sdn.model import BgpScope
from lisp_sdn.rlocs import Rlocs
from lisp_sdn.views import Announcement, ProxyItrState
from lisp_sdn.xtr.damping import Damping

Trouble = Callable[[str, int], str | None]
"""(name of an xTR, instance-ID) -> why its switch does not take native packets in, None if it
does."""


@dataclass(slots=True)
class _Proxy:
    """One Proxy-ITR. usable: it attracts traffic. reason: why not. since: of both."""

    xtr: XtrSettings
    port: NativePort
    role: ProxyItr
    damping: Damping
    usable: bool = False
    reason: str = ""
    since: float = 0.0
    failed: bool = False
    back_at: float | None = None


class Proxies:
    """All Proxy-ITRs of this controller. trouble: asks an xTR."""

    def __init__(self, config: Config, rlocs: Rlocs, trouble: Trouble) -> None:
        self._rlocs = rlocs
        self._trouble = trouble
        self._proxies: list[_Proxy] = []
        self._preferred: list[_Proxy] = []
        self._announced: dict[IPNetwork, tuple[_Proxy, IPAddress]] = {}
        self.configure(config, 0.0)

    def configure(self, config: Config, now: float) -> None:
        """Those of another configuration; `look` then announces and withdraws what follows."""
        known = {(proxy.xtr.name, proxy.port.iid): proxy for proxy in self._proxies}
        limit = config.reachability.recovery_limit
        self._proxies = []
        for xtr, port, role in proxies(config):
            proxy = known.pop((xtr.name, port.iid), None)
            if proxy is None or proxy.role.hold_down != role.hold_down:
                damping = Damping(role.hold_down, max(limit, role.hold_down))
                proxy = proxy or _Proxy(xtr, port, role, damping, since=now)
                proxy.damping = damping
            proxy.xtr, proxy.port, proxy.role = xtr, port, role
            self._proxies.append(proxy)
        for gone in known.values():
            gone.reason = "not-configured"
        # Sorted once: the first that is usable and has a prefix announces it.
        self._preferred = sorted(self._proxies, key=lambda proxy: -proxy.role.preference)

    def start(self, now: float) -> list[Action]:
        """Nothing is announced before a switch is there."""
        for proxy in self._proxies:
            proxy.since = now
        return self.look(now)

    def next_timer(self) -> float | None:
        """When a Proxy-ITR has been well for long enough."""
        times = (proxy.back_at for proxy in self._proxies if proxy.back_at is not None)
        return min(times, default=None)

    def look(self, now: float) -> list[Action]:
        """Something may have changed about an xTR or an RLOC."""
        events: list[Action] = []
        for proxy in self._proxies:
            events += self._judge(proxy, now)
        return [*events, *self._follow()] if self._proxies or self._announced else []

    def _judge(self, proxy: _Proxy, now: float) -> Iterator[Action]:
        reason = self._why_not(proxy)
        if reason is not None:
            proxy.back_at = None
            if proxy.usable:
                proxy.damping.failed(now)
                proxy.failed, proxy.usable, proxy.since = True, False, now
                yield _event("proxy-itr.down", proxy, reason=reason)
            proxy.reason = reason
        elif not proxy.usable:
            if proxy.back_at is None:
                # The first time there is nothing that it could have failed at.
                proxy.back_at = now + (proxy.damping.wait if proxy.failed else 0.0)
                proxy.reason = "held-down"
            if proxy.back_at <= now:
                proxy.usable, proxy.reason, proxy.since, proxy.back_at = True, "", now, None
                yield _event("proxy-itr.up", proxy)

    def _why_not(self, proxy: _Proxy) -> str | None:
        trouble = self._trouble(proxy.xtr.name, proxy.port.iid)
        if trouble is not None:
            return trouble
        rlocs = [entry.rloc for entry in proxy.xtr.rlocs]
        up = [rloc for rloc in rlocs if rloc not in self._rlocs.down]
        if not up:
            return "rlocs-down"
        return "rlocs-drained" if all(rloc in self._rlocs.drained for rloc in up) else None

    # --- announcements -----------------------------------------------------------------------

    def _follow(self) -> Iterator[Action]:
        wanted: dict[IPNetwork, tuple[_Proxy, IPAddress]] = {}
        for proxy in self._preferred:
            for prefix in proxy.role.eid_prefixes if proxy.usable else ():
                hop = self._next_hop(proxy, prefix.version)
                if hop is not None:
                    wanted.setdefault(prefix, (proxy, hop))
        before, self._announced = self._announced, wanted
        for prefix, (proxy, hop) in wanted.items():
            if before.get(prefix) != (proxy, hop):
                yield Announce(prefix, BgpScope.UNDERLAY, hop)
                data = {"xtr": proxy.xtr.name, "next_hop": str(hop)}
                yield Event("proxy-itr.announced", str(prefix), data)
        for prefix, (proxy, _) in before.items():
            if prefix not in wanted:
                yield Withdraw(prefix, BgpScope.UNDERLAY)
                data = {"xtr": proxy.xtr.name, "reason": proxy.reason or "next-hop-down"}
                yield Event("proxy-itr.withdrawn", str(prefix), data)

    def _next_hop(self, proxy: _Proxy, version: int) -> IPAddress | None:
        """The configured one; else the first of our RLOCs that packets can come in by."""
        own = [entry.rloc for entry in proxy.xtr.rlocs if entry.rloc.version == version]
        named = [hop for hop in proxy.role.next_hops if hop.version == version]
        candidates = [hop for hop in named or own if hop not in self._rlocs.down]
        return min(candidates, key=lambda hop: hop in self._rlocs.drained, default=None)

    # --- what it shows -----------------------------------------------------------------------

    def states(self) -> Iterator[ProxyItrState]:
        """Every Proxy-ITR in the order of the configuration."""
        for proxy in self._proxies:
            entries = []
            for prefix in proxy.role.eid_prefixes:
                by, hop = self._announced.get(prefix, (None, None))
                mine = by is proxy
                via = hop if mine else self._next_hop(proxy, prefix.version)
                entries.append(Announcement(prefix, via, mine))
            yield ProxyItrState(
                proxy.xtr.name,
                proxy.port.iid,
                proxy.port.name,
                proxy.role.preference,
                proxy.usable,
                proxy.reason,
                proxy.since,
                tuple(entries),
            )

    def counts(self) -> Mapping[tuple[str, int], int]:
        """How many EID-prefixes each Proxy-ITR has announced now, by xTR and instance-ID."""
        counts = {(proxy.xtr.name, proxy.port.iid): 0 for proxy in self._proxies}
        for proxy, _ in self._announced.values():
            counts[proxy.xtr.name, proxy.port.iid] += 1
        return counts


def _event(kind: str, proxy: _Proxy, **data: object) -> Event:
    return Event(kind, proxy.xtr.name, {"iid": proxy.port.iid, **data})
