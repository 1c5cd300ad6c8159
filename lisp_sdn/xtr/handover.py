"""An xTR under other settings goes on where it was: nothing that is known is asked for again.

`take_over` is the one place beside `Xtr` itself that knows its parts. What a part keeps that
outlives settings is handed over here; everything else begins anew.
"""

from __future__ import annotations

from dataclasses import replace

from lisp_sdn.actions import PacketIn, ReadRules
from lisp_sdn.rules import CookieClass, cookie
from lisp_sdn.xtr.etr import TIMER as REGISTER_TIMER
from lisp_sdn.xtr.outbox import XtrAction
from lisp_sdn.xtr.pipeline import FROM_TUNNEL, Punt, TableId
from lisp_sdn.xtr.queue import Held, HoldKey
from lisp_sdn.xtr.xtr import Xtr


def take_over(new: Xtr, old: Xtr, now: float) -> list[XtrAction]:
    """Let `new` play the xTR that `old` played: the same switch, another configuration.

    Map-cache, local EIDs, reachability and next hops stay. Rules: those wanted now, minus those
    that the switch holds. Packets that wait are looked at again.
    """
    old._briefs.write_out_all()
    new.connected_since = old.connected_since
    new._checked, new._central = old._checked, old._central
    new._out.take_over(old._out)
    new._topology = replace(new._topology, down=old._topology.down, drained=old._topology.drained)
    new._set_ports(old._ports.values())
    new._numbers = old._numbers
    _hosts(new, old)
    new._keeper.take_over(old._cache, now, ask=_other_answers(new, old))
    new._neighbours.take_over(old._neighbours)
    new._prober.take_over(old._prober)
    new.guard.take_over(old.guard, now)
    new._reach(new._topology.drained)
    _register(new, old, now)
    actions: list[XtrAction] = []
    installed = old._program.installed
    if installed is not None:
        actions += new._finish(new._program.start(new._owners, installed.ruleset()))
        new._tell_problems()
    elif old._out.connected:
        # It was about to compare what the switch holds.
        new._out.act(ReadRules(new.settings.datapath_id))
    for event in (*_waiting(old), *old.guard.waiting(), *old._early):
        actions += new.packet_in(event, now)
    new._keeper.revalidate_some(now)
    return [*actions, *new._finish()]


def _other_answers(new: Xtr, old: Xtr) -> bool:
    """Whether what is in the map-cache may be answered otherwise now."""
    resolvers = new.settings.map_resolvers
    petrs = new._keeper.petrs.used != old._keeper.petrs.used
    return petrs or not resolvers or resolvers != old.settings.map_resolvers


def _hosts(new: Xtr, old: Xtr) -> None:
    """Local EIDs behind ports that are still there, for the same tenant and subnet.

    Those that roam stay until the controller says otherwise, and so does what is known to be away.
    """
    new.away.update(old.away)
    for host in old.local_eids():
        port = new._topology.port(host.port)
        reached = new._topology.gateway_ports(host.iid, host.address)
        if port is None or port.iid != host.iid:
            continue
        roams = port.mobility and port.gateway_for(host.address) is not None
        if roams or any(found is port for found, _ in reached):
            new._hosts.learn(replace(host, kept=host.kept and roams), proven=True)


def _register(new: Xtr, old: Xtr, now: float) -> None:
    """At once when there is something to tell; else when it would have been due."""
    new._etr.take_over(old._etr)
    due = old._timers.when(REGISTER_TIMER)
    same = new._etr.records() == old._etr.records() and (
        (new.settings.site, new.settings.map_servers)
        == (old.settings.site, old.settings.map_servers)
    )
    if not same:
        new._etr.register(now)
    elif due is not None:
        new._timers.schedule(REGISTER_TIMER, due)


def _waiting(old: Xtr) -> list[PacketIn]:
    """The packets that `old` holds, as they came."""
    return [
        _again(old, key, held) for key in old._hold.destinations() for held in old._hold.take(key)
    ]


def _again(old: Xtr, key: HoldKey, held: Held) -> PacketIn:
    iid, destination = key
    from_tunnel = held.in_port == old._topology.tunnel_port
    local = bool(old._topology.gateway_ports(iid, destination))
    table, punt = (TableId.LOCAL_EIDS, Punt.LOCAL) if local else (TableId.MISS, Punt.MISS)
    return PacketIn(
        old.settings.datapath_id,
        table,
        cookie(CookieClass.PIPELINE, punt),
        held.in_port,
        held.frame,
        metadata=iid | (FROM_TUNNEL if from_tunnel else 0),
    )
