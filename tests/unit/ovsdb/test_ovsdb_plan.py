"""What a switch needs in its database to be an xTR: exactly that, once, and nobody else's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ovsdb_fake import FakeDatabase, TimedOut

from lisp_sdn.ovsdb import plan
from lisp_sdn.ovsdb.plan import TUNNEL_OPTIONS, Plan, Wanted

HERE = "tcp:192.0.2.53:6653"
WANTED = Wanted(
    "left",
    1,
    eid_ports=("blue1", "red1"),
    underlay=("br-phy", 0x101),
    uplinks=("up1",),
    controllers=(HERE,),
)


def adopt(database: FakeDatabase, wanted: Wanted = WANTED, **how: bool) -> Plan:
    found = plan.make(wanted, database.snapshot(), **how)
    if not found.refused and found.needed:
        database.transact(found.operations)
    return found


def adopted(wanted: Wanted = WANTED) -> FakeDatabase:
    database = FakeDatabase()
    assert not adopt(database, wanted, add_uplinks=True).refused
    return database


def test_a_bare_switch_becomes_an_xtr_in_one_transaction() -> None:
    database = adopted()
    assert database.transactions == 1
    now = database.snapshot()
    overlay, underlay = now.bridge("br0"), now.bridge("br-phy")
    assert overlay is not None
    assert underlay is not None
    assert (overlay.datapath_type, overlay.fail_mode) == ("netdev", "secure")
    assert (overlay.protocols, overlay.datapath_id) == ({"OpenFlow13"}, 1)
    assert [port.name for port in overlay.ports] == ["br0", "blue1", "red1", "lisp0"]
    (tunnel,) = overlay.ports[-1].interfaces
    assert (tunnel.type, tunnel.options) == ("vxlan", TUNNEL_OPTIONS)
    (controller,) = overlay.controllers
    assert (controller.target, controller.connection_mode) == (HERE, "out-of-band")
    # The controller may be reached through the underlay: hidden flows for it stay possible.
    assert (underlay.fail_mode, underlay.datapath_id) == ("standalone", 0x101)
    assert underlay.controllers[0].connection_mode is None
    assert [port.name for port in underlay.ports] == ["br-phy", "up1"]
    assert now.next_cfg == 1


def test_an_adopted_switch_is_left_alone() -> None:
    again = adopt(adopted())
    assert (again.steps, again.refused, again.operations) == ([], [], [])


def test_a_plan_is_for_what_was_looked_at() -> None:
    database = FakeDatabase()
    found = plan.make(WANTED, database.snapshot(), add_uplinks=True)
    (system,) = database.tables["Open_vSwitch"].values()
    system["next_cfg"] += 1
    with pytest.raises(TimedOut):
        database.transact(found.operations)
    assert database.tables["Bridge"] == {}


def test_without_being_told_uplinks_and_controllers_are_asked_for() -> None:
    database = FakeDatabase()
    found = adopt(database, replace(WANTED, controllers=()))
    assert database.transactions == 0
    assert any("--controller tcp:ADDRESS:6653" in text for text in found.refused)
    assert any("--add-uplinks" in text and "up1" in text for text in found.refused)


def test_controllers_that_are_there_are_kept_without_naming_them() -> None:
    database = adopted()
    assert not adopt(database, replace(WANTED, controllers=())).needed


def test_wrong_options_are_corrected_and_others_kept() -> None:
    database = adopted()
    row = next(r for r in database.tables["Interface"].values() if r["name"] == "lisp0")
    options = {**TUNNEL_OPTIONS, "dst_port": "4789", "csum": "true"}
    del options["tos"]
    row["options"] = ["map", [list(item) for item in options.items()]]
    found = adopt(database)
    assert found.steps == [
        "~ port lisp0: dst_port 4789 -> 4341",
        "~ port lisp0: tos not set -> inherit",
    ]
    bridge = database.snapshot().bridge("br0")
    assert bridge is not None
    port = bridge.port("lisp0")
    assert port is not None
    assert port.interfaces[0].options == {**TUNNEL_OPTIONS, "csum": "true"}


FOREIGN = {
    "ports": "has ports that are not of xTR left: vm1",
    "datapath id": "has datapath id 00000000000000ff, not 0000000000000001",
    "kernel": "has datapath type system, expected netdev",
    "controller": "is controlled by tcp:203.0.113.9:6653",
    "type": "port lisp0 has type gre, expected vxlan",
    "elsewhere": "port blue1 is one of bridge br1",
}


def foreign(kind: str) -> FakeDatabase:
    if kind == "ports":
        other = Wanted("other", 7, eid_ports=("vm1",), controllers=(HERE,))
        database = adopted(other)
        next(iter(database.tables["Bridge"].values()))["other_config"] = ["map", []]
        return database
    if kind == "elsewhere":
        other = Wanted("other", 7, "lisp9", ("blue1",), overlay="br1", controllers=(HERE,))
        return adopted(other)
    database = adopted()
    bridge = next(r for r in database.tables["Bridge"].values() if r["name"] == "br0")
    if kind == "datapath id":
        bridge["other_config"] = ["map", [["datapath-id", "00000000000000ff"]]]
    elif kind == "kernel":
        bridge["datapath_type"] = "system"
    elif kind == "controller":
        for row in database.tables["Controller"].values():
            row["target"] = "tcp:203.0.113.9:6653"
    else:
        port = next(r for r in database.tables["Interface"].values() if r["name"] == "lisp0")
        port["type"] = "gre"
    return database


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_somebody_elses_is_not_touched_until_told(kind: str) -> None:
    database = foreign(kind)
    before = database.transactions
    found = adopt(database, add_uplinks=True)
    assert any(FOREIGN[kind] in text and "--take-over" in text for text in found.refused)
    assert database.transactions == before
    done = adopt(database, add_uplinks=True, take_over=True)
    assert done.steps
    assert not done.refused
    assert not adopt(database, add_uplinks=True, take_over=True).needed


def test_controllers_change_in_one_operation() -> None:
    """Between two, the bridge would have none, and Open vSwitch would flush its flows."""
    database = foreign("controller")
    found = plan.make(WANTED, database.snapshot(), take_over=True)
    rows = [op["row"] for op in found.operations if op["table"] == "Bridge"]
    assert all(len(row["controller"][1]) == 1 for row in rows if "controller" in row)
    assert sum("controller" in row for row in rows) == 2


def test_the_mtu_that_is_there_is_asked_for_so_that_it_stays() -> None:
    database = adopted()
    local = next(r for r in database.tables["Interface"].values() if r["name"] == "br-phy")
    local["mtu"] = 1600
    assert adopt(database).steps == ["~ port br-phy: mtu_request not set -> 1600"]
    assert adopt(database, replace(WANTED, mtu=9000)).steps == [
        "~ port br-phy: mtu_request 1600 -> 9000"
    ]
    assert not adopt(database).needed


def test_a_bridge_is_found_by_its_datapath_id() -> None:
    database = adopted(replace(WANTED, overlay="br-lisp"))
    assert not adopt(database).needed
    found = adopt(database, replace(WANTED, overlay="br0"))
    assert any("is that of bridge br-lisp already" in text for text in found.refused)


@given(
    st.lists(
        st.builds(
            Wanted,
            st.just("left"),
            st.sampled_from([1, 2]),
            st.sampled_from(["lisp0", "lisp1"]),
            st.sampled_from([(), ("blue1",), ("blue1", "red1")]),
            st.sampled_from([(), ("native0",)]),
            st.sampled_from([None, "br0", "br1"]),
            st.sampled_from([None, ("br-phy", 0x101), ("br-wan", 0x102)]),
            st.sampled_from([(), ("up1",)]),
            st.sampled_from([(HERE,), ("tcp:203.0.113.9:6653", HERE)]),
            st.sampled_from([None, 1600]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_was_there_one_plan_is_enough(several: list[Wanted]) -> None:
    database = FakeDatabase()
    for wanted in several:
        first = adopt(database, wanted, take_over=True, add_uplinks=True)
        if first.refused:
            assert all("already" in text for text in first.refused)
            continue
        again = adopt(database, wanted, take_over=True, add_uplinks=True)
        assert (again.steps, again.operations) == ([], [])
