"""Map-Requests: what is answered, forwarded, refused."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from mapping_helpers import (
    ETR,
    ETR2,
    ITR,
    NOW,
    Etr,
    answers,
    ask,
    changed,
    dropped,
    ecm,
    eid,
    endpoint,
    locators,
    record,
    replies,
    request,
    sent,
    site,
    system,
)

from lisp_sdn.actions import SendControl
from lisp_sdn.address import EidPrefix, Endpoint, SourceDestPrefix
from lisp_sdn.mapping.chain import Kind, OtherMapResolver, Outcome, Query
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import Act, Answer, Mapping, Requester
from lisp_sdn.wire import (
    NO_ADDRESS,
    Ecm,
    MacAddress,
    MapNotify,
    MapReferral,
    MapReply,
    MapRequest,
    OpaqueLcaf,
    OtherEid,
    RequestRecord,
    VendorSpecific,
    decode,
)

RFC_EXAMPLE = ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:1::/64", "2001:db8:1:2::/64")


def registered(*eids: str, rloc: str = ETR, **more: Any) -> MapSystem:
    """A Map-Server whose one site has registered these EID-prefixes."""
    prefixes = more.pop("prefixes", ["10.0.0.0/8", "2001:db8::/32"])
    flags = more.pop("flags", {"proxy_reply": True})
    ms = system(site(prefixes=prefixes, **more.pop("site", {})), **more)
    etr = Etr(rloc, flags=flags)
    if eids:
        ms.receive(etr.register(*(record(text, rloc) for text in eids)), etr.source, NOW)
    return ms


# --- RFC 9301 section 5.5 ---


def test_the_example_of_the_rfc() -> None:
    ms = registered(*RFC_EXAMPLE)
    assert answers(ask(ms, "2001:db8:1:1::1")) == [("2001:db8:1:1::/64", [ETR])]
    assert [name for name, _ in answers(ask(ms, "2001:db8:1:5::5"))] == [
        "2001:db8:1::/48",
        "2001:db8:1:1::/64",
        "2001:db8:1:2::/64",
    ]


def test_all_records_of_one_reply_have_one_ttl() -> None:
    ms, etr = system(), Etr()
    ms.receive(
        etr.register(record("10.1.0.0/16", ETR, ttl=1440), record("10.1.2.0/24", ETR, ttl=30)),
        etr.source,
        NOW,
    )
    assert [r.ttl_minutes for r in ask(ms, "10.1.9.9").records] == [30, 30]


def test_too_many_more_specifics_narrow_the_answer() -> None:
    eids = ["10.1.0.0/16", *(f"10.1.{n}.0/24" for n in range(100, 160))]
    ms = registered(*eids)
    reply = ask(ms, "10.1.9.9")
    assert answers(reply) == [("10.1.0.0/18", [ETR])]
    assert answers(ask(ms, "10.1.161.1")) == [("10.1.160.0/19", [ETR])]
    assert answers(ask(ms, "10.1.100.0/22"))[0][0] == "10.1.100.0/24"


def test_a_map_reply_never_exceeds_the_smallest_path_mtu() -> None:
    rlocs = [f"203.0.113.{n}" for n in range(1, 9)]
    ms, etr = system(), Etr()
    for n in range(16):
        ms.receive(etr.register(record(f"10.1.{n}.0/24", *rlocs)), etr.source, NOW)
    ms.receive(etr.register(record("10.1.0.0/16", *rlocs)), etr.source, NOW)
    actions = ms.receive(ecm(request("10.1.77.1")), endpoint(ITR), NOW)
    (send,) = [a for a in actions if isinstance(a, SendControl)]
    assert len(send.data) <= 548
    assert answers(replies(actions)[0]) == [("10.1.64.0/18", rlocs)]


def test_an_unregistered_more_specific_is_never_covered_by_a_positive_answer() -> None:
    ms = registered("10.1.0.0/16", prefixes=["10.1.0.0/16", "10.1.128.0/17"])
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/17", [ETR])]
    reply = ask(ms, "10.1.200.1")
    assert answers(reply) == [("10.1.128.0/17", [])]
    assert (reply.records[0].ttl_minutes, reply.records[0].action) == (1, Act.NATIVELY_FORWARD)


# --- negative answers ---


def test_not_configured_is_natively_forward_for_fifteen_minutes() -> None:
    ms = registered("10.1.0.0/16", prefixes=["10.1.0.0/16"])
    (found,) = ask(ms, "10.3.4.5").records
    assert (str(found.eid), found.ttl_minutes, found.action) == ("10.2.0.0/15", 15, 1)
    (everything,) = ask(ms, "2001:db8::1").records
    assert str(everything.eid) == "::/0"
    (other,) = ask(ms, "[9] 10.1.2.3").records
    assert str(other.eid) == "[9] 0.0.0.0/0"


def test_configured_but_not_registered_is_one_minute_and_the_sites_action() -> None:
    drop = {"prefix": "10.2.0.0/16", "unregistered_action": "drop-no-reason"}
    ms = registered(prefixes=["10.1.0.0/16", drop])
    (found,) = ask(ms, "10.1.4.5").records
    assert (str(found.eid), found.ttl_minutes, found.action) == ("10.1.0.0/16", 1, 1)
    (found,) = ask(ms, "10.2.4.5").records
    assert (str(found.eid), found.ttl_minutes, found.action) == ("10.2.0.0/16", 1, 3)
    etr = Etr()
    ms.receive(etr.register(record("10.1.4.0/24", ETR)), etr.source, NOW)
    (found,) = ask(ms, "10.1.5.5").records
    assert (str(found.eid), found.ttl_minutes) == ("10.1.5.0/24", 1)


def test_a_request_for_a_prefix_with_eids_inside_names_them() -> None:
    ms = registered("10.1.0.0/16", "10.2.3.0/24", prefixes=["10.1.0.0/16", "10.2.3.0/24"])
    reply = ask(ms, "10.0.0.0/8")
    assert answers(reply) == [("10.0.0.0/8", []), ("10.1.0.0/16", [ETR]), ("10.2.3.0/24", [ETR])]
    assert {r.ttl_minutes for r in reply.records} == {15}


class Deny:
    """A policy that denies everybody."""

    action = Act.DROP_POLICY_DENIED

    def evaluate(self, mapping: Mapping, requester: Requester, now: float) -> Answer:
        return Answer(Mapping(mapping.eid, ttl_minutes=15, action=self.action), rule="deny")

    def narrow(self, mapping: Mapping, asked: EidPrefix) -> Mapping:
        return mapping


def test_policy_denied_and_its_legacy_form() -> None:
    for legacy, action in ((False, 4), (True, 3)):
        ms = registered("10.1.0.0/16", policy=Deny(), site={"legacy_actions": legacy})
        (found,) = ask(ms, "10.1.1.1").records
        assert (found.action, found.locators) == (action, ())


def test_policy_denies_before_the_etr_is_asked() -> None:
    ms = registered("10.1.0.0/16", policy=Deny(), flags={})
    assert ask(ms, "10.1.1.1").records[0].action == 4


class ByPart(Deny):
    """A rule for 10.1.128.0/17 only."""

    def evaluate(self, mapping: Mapping, requester: Requester, now: float) -> Answer:
        if str(mapping.eid) == "10.1.128.0/17":
            return super().evaluate(mapping, requester, now)
        return Answer(mapping)

    def narrow(self, mapping: Mapping, asked: EidPrefix) -> Mapping:
        half = "10.1.128.0/17" if eid("10.1.128.0/17").covers(asked) else "10.1.0.0/17"
        return Mapping(eid(half), mapping.locators, mapping.ttl_minutes)


def test_an_answer_covers_no_more_than_the_policy_decided_about() -> None:
    ms = registered("10.1.0.0/16", policy=ByPart())
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/17", [ETR])]
    assert answers(ask(ms, "10.1.200.1")) == [("10.1.128.0/17", [])]


# --- static mappings ---


def test_static_mappings_from_configuration_and_at_runtime() -> None:
    ms = registered(
        "10.1.0.0/16",
        mappings=[{"eid_prefix": "192.0.2.0/24", "locators": [{"rloc": "198.51.100.9"}]}],
    )
    assert answers(ask(ms, "192.0.2.1")) == [("192.0.2.0/24", ["198.51.100.9"])]
    mapping = Mapping(eid("10.1.0.0/16"), locators("198.51.100.7"))
    assert changed(ms.set_static(mapping, NOW)) == [mapping.eid]
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/16", ["198.51.100.7"])]
    assert changed(ms.remove_static(mapping.eid, NOW)) == [mapping.eid]
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/16", [ETR])]
    with pytest.raises(LookupError):
        ms.remove_static(mapping.eid, NOW)
    drop = Mapping(eid("10.1.7.0/24"), action=Act.DROP_NO_REASON, ttl_minutes=5)
    ms.set_static(drop, NOW)
    (found,) = ask(ms, "10.1.7.7").records
    assert (found.action, found.ttl_minutes) == (3, 5)


# --- source EID ---


def test_scope_of_answers_that_depend_on_the_source() -> None:
    ms = registered("10.1.0.0/16")
    etr = Etr(nonce=1000)
    keys = {"10.9.0.0/16": "198.51.100.1", "10.9.4.0/24": "198.51.100.2"}
    for source, rloc in keys.items():
        key = SourceDestPrefix(eid(source), eid("10.1.0.0/16"))
        plain = record("10.1.0.0/16", rloc)
        ms.receive(etr.register(type(plain)(key, plain.locators)), etr.source, NOW)
    for source, rloc, scope in (
        ("10.9.1.1", "198.51.100.1", "10.9.0.0/22"),
        ("10.9.4.1", "198.51.100.2", "10.9.4.0/24"),
        ("10.200.0.1", ETR, "10.128.0.0/9"),
    ):
        answer = ms.answer(eid("10.1.1.1"), Requester(source_eid=eid(source)), NOW)
        assert [str(x.rloc) for x in answer.mapping.locators] == [rloc]
        assert answer.scope == SourceDestPrefix(eid(scope), eid("10.1.0.0/16"))
        message = request("10.1.1.1", source_eid=source)
        reply, _ = ms.resolve(message, Requester(source_eid=eid(source), xtr="a"), NOW)
        assert reply is not None
        assert reply.records[0].eid == answer.scope
        # A foreign ITR asked for a plain EID and gets a plain one; with a pair it gets a pair.
        assert answers(ask(ms, "10.1.1.1", source_eid=source)) == [("10.1.0.0/16", [rloc])]
        pair = SourceDestPrefix(eid(source), eid("10.1.1.1"))
        actions = ms.receive(
            request("10.1.1.1", records=(RequestRecord(pair),)).serialize(), endpoint(ITR), NOW
        )
        assert answers(replies(actions)[0]) == [(str(answer.scope), [rloc])]
    assert ms.answer(eid("10.1.1.1"), Requester(), NOW).scope is None


def test_no_negative_answer_wider_than_a_source_keyed_prefix() -> None:
    ms, etr = registered(prefixes=["10.1.0.0/16"]), Etr()
    key = SourceDestPrefix(eid("10.9.0.0/16"), eid("10.1.2.0/24"))
    plain = record("10.1.2.0/24", ETR)
    ms.receive(etr.register(type(plain)(key, plain.locators)), etr.source, NOW)
    assert answers(ask(ms, "10.1.2.3", source_eid="10.8.0.1")) == [("10.1.2.0/24", [])]
    assert answers(ask(ms, "10.1.2.3", source_eid="10.9.0.1")) == [("10.1.2.0/24", [ETR])]


# --- where the reply goes ---


def test_reply_goes_to_an_itr_rloc_and_the_inner_source_port() -> None:
    ms = registered("10.1.0.0/16")
    data = ecm(request("10.1.1.1", nonce=77, itr=("2001:db8::9", ITR)), port=61001)
    ((reply, target),) = sent(ms.receive(data, endpoint("192.0.2.200", 55555), NOW))
    assert isinstance(reply, MapReply)
    assert (reply.nonce, target) == (77, endpoint(ITR, 61001))
    bare = request("10.1.1.1", itr=("2001:db8::9",)).serialize()
    ((_, target),) = sent(ms.receive(bare, endpoint("192.0.2.200", 55555), NOW))
    assert target == endpoint("2001:db8::9", 55555)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"probe": True}, "probe"),
        ({"smr": True}, "smr"),
        ({"itr": (NO_ADDRESS,)}, "no-itr-rloc"),
        ({"itr": ("224.0.0.1",)}, "no-itr-rloc"),
        ({"itr": ("255.255.255.255",)}, "no-itr-rloc"),
        ({"itr": (MacAddress(b"abcdef"),)}, "no-itr-rloc"),
        ({"records": ()}, "no-records"),
        ({"records": (RequestRecord(OtherEid(MacAddress(b"abcdef"), 48)),)}, "unsupported-eid"),
    ],
)
def test_refused_requests(flags: dict[str, Any], reason: str) -> None:
    ms = registered("10.1.0.0/16")
    message = request("10.1.1.1", **flags)
    for data in (
        message.serialize(),
        Ecm(endpoint(ITR, 61001), endpoint("10.1.1.1"), message.serialize()).serialize(),
    ):
        actions = ms.receive(data, endpoint(ITR, 61001), NOW)
        assert dropped(actions) == [reason]
        assert not sent(actions)
    assert ms.report.counters[f"dropped-{reason}"] == 2


def test_dont_reply_and_source_port_zero() -> None:
    ms = registered("10.1.0.0/16")
    assert ms.receive(ecm(request("10.1.1.1", dont_reply=True)), endpoint(ITR), NOW) == []
    actions = ms.receive(ecm(request("10.1.1.1"), port=0), endpoint(ITR), NOW)
    assert dropped(actions) == ["bad-port"]


def test_refused_ecms() -> None:
    ms = registered("10.1.0.0/16")
    payload = request("10.1.1.1").serialize()
    inner = endpoint(ITR, 61001)
    wrong_port = Ecm(inner, endpoint("10.1.1.1", 4343), payload).serialize()
    assert dropped(ms.receive(wrong_port, endpoint(ITR), NOW)) == ["ecm-port"]
    etr = Etr()
    register = Ecm(inner, endpoint("10.1.1.1"), etr.register(record("10.1.1.0/24"))).serialize()
    assert dropped(ms.receive(register, endpoint(ITR), NOW)) == ["ecm-payload"]
    broken = Ecm(inner, endpoint("10.1.1.1"), payload[:-1]).serialize()
    assert dropped(ms.receive(broken, endpoint(ITR), NOW)) == ["truncated"]
    data_port = bytearray(ecm(request("10.1.1.1")))
    data_port[24:26] = (4341).to_bytes(2, "big")
    assert dropped(ms.receive(bytes(data_port), endpoint(ITR), NOW)) == ["bad_value"]


def test_what_a_map_server_never_gets_is_counted_and_changes_nothing() -> None:
    ms = registered("10.1.0.0/16")
    messages = [
        MapReply(1, (record("10.1.0.0/16", "198.18.0.1"),)).serialize(),
        MapNotify(1, (record("10.1.0.0/16", "198.18.0.1"),)).serialize(),
        *(bytes([number << 4]) + bytes(40) for number in (0, 6, 7, 9, 10, 14, 15)),
        b"",
    ]
    for data in messages:
        actions = ms.receive(data, endpoint(ITR), NOW)
        assert len(dropped(actions)) == 1, data[:1]
        assert not sent(actions)
    assert ms.report.counters["map-reply-in"] == 1
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/16", [ETR])]


# --- forwarding ---


def test_without_proxy_the_ecm_goes_unaltered_to_the_etrs_in_turn() -> None:
    ms = system()
    for address in (ETR, ETR2):
        etr = Etr(address, flags={})
        ms.receive(etr.register(record("10.1.0.0/16", address)), etr.source, NOW)
    seen = []
    for n in range(6):
        data = ecm(request("10.1.1.1", nonce=n, itr=(f"192.0.2.{n + 1}",)))
        (send,) = ms.receive(data, endpoint(ITR, 5000), NOW)
        assert isinstance(send, SendControl)
        assert send.data == data
        seen.append(str(send.destination))
    assert sorted(seen) == [f"{ETR}:4342"] * 3 + [f"{ETR2}:4342"] * 3
    assert seen[0] != seen[1]


def test_a_bare_request_is_encapsulated_for_the_etr() -> None:
    ms = registered("10.1.0.0/16", flags={})
    message = request("10.1.1.1", nonce=5)
    ((found, target),) = sent(ms.receive(message.serialize(), endpoint(ITR, 4342), NOW))
    assert isinstance(found, Ecm)
    assert decode(found.payload) == message
    assert (found.destination, target) == (endpoint("10.1.1.1"), endpoint(ETR))


def test_one_etr_that_asks_for_proxy_is_enough() -> None:
    ms = system()
    for address, flags in ((ETR, {}), (ETR2, {"proxy_reply": True})):
        etr = Etr(address, flags=flags)
        ms.receive(etr.register(record("10.1.0.0/16", ETR, ETR2)), etr.source, NOW)
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/16", [ETR, ETR2])]


def test_proxy_reply_as_a_setting_of_the_site() -> None:
    ms = registered("10.1.0.0/16", flags={}, site={"proxy_reply": True})
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/16", [ETR])]


def test_the_authoritative_bit_asks_the_site_when_it_can_be_reached() -> None:
    ms = registered("10.1.0.0/16")
    ((found, target),) = sent(
        ms.receive(ecm(request("10.1.1.1", authoritative=True)), endpoint(ITR), NOW)
    )
    assert isinstance(found, Ecm)
    assert target == endpoint(ETR)
    # Our own xTRs register over the loopback: nobody is there to ask, we answer with A=0.
    ms, local = system(), Etr("127.0.0.1")
    ms.receive(local.register(record("10.1.0.0/16", ETR)), local.source, NOW)
    assert answers(ask(ms, "10.1.1.1", authoritative=True)) == [("10.1.0.0/16", [ETR])]


def test_resolve_forwards_for_our_own_xtrs_too() -> None:
    ms = registered("10.1.0.0/16", flags={})
    requester = Requester((ipaddress.ip_address(ITR),), eid("10.5.0.1"), xtr="a")
    reply, actions = ms.resolve(request("10.1.1.1", source_eid="10.5.0.1"), requester, NOW)
    assert reply is None
    ((found, target),) = sent(actions)
    assert isinstance(found, Ecm)
    assert target == endpoint(ETR)


# --- DDT ---


@pytest.mark.parametrize(
    ("text", "found", "action", "ttl", "replied"),
    [
        ("10.1.1.1", "10.1.0.0/16", 2, 1440, True),
        ("10.2.1.1", "10.2.0.0/16", 3, 1, False),
        ("192.0.2.1", "192.0.2.1/32", 5, 0, False),
    ],
)
def test_the_ddt_bit_gets_a_map_referral(
    text: str, found: str, action: int, ttl: int, replied: bool
) -> None:
    ms = registered("10.1.0.0/16", prefixes=["10.1.0.0/16", "10.2.0.0/16"])
    sender = endpoint("198.51.100.1", 40000)
    actions = ms.receive(ecm(request(text, nonce=5), ddt=True), sender, NOW)
    ((referral, target), *rest) = sent(actions)
    assert isinstance(referral, MapReferral)
    (only,) = referral.records
    assert (str(only.eid), only.action, only.ttl_minutes) == (found, action, ttl)
    assert (only.incomplete, referral.nonce, target) == (True, 5, sender)
    assert bool(rest) is replied
    if replied:
        assert answers(replies(actions)[0]) == [("10.1.0.0/16", [ETR])]


def test_an_etr_is_asked_without_the_ddt_bit() -> None:
    ms = registered("10.1.0.0/16", flags={})
    data = ecm(request("10.1.1.1"), ddt=True)
    actions = ms.receive(data, endpoint(ITR), NOW)
    forwarded = [a for a in actions if isinstance(a, SendControl)][1]
    assert forwarded.data == bytes((0x80,)) + data[1:]
    assert forwarded.destination == endpoint(ETR)


# --- the chain ---


class Alt:
    """Knows one EID-prefix and forwards requests for it."""

    name = "alt"
    known = eid("172.16.0.0/12")
    hop = endpoint("198.51.100.77")

    def ask(self, query: Query, now: float) -> Outcome | None:
        if not self.known.covers(query.eid):
            return None
        return Outcome(Kind.FORWARDED, actions=(SendControl(query.message, self.hop),))

    def free_length(self, found: EidPrefix) -> int:
        if found.iid or found.version != 4:
            return 0
        one = int(found.network.network_address) ^ int(self.known.network.network_address)
        return 33 - one.bit_length()


def test_sources_are_asked_in_order_after_our_own_mappings() -> None:
    ms = registered("10.1.0.0/16", sources=[Alt(), OtherMapResolver([])])
    message = request("172.16.5.5")
    ((found, target),) = sent(ms.receive(ecm(message), endpoint(ITR), NOW))
    assert (found, target) == (message, Alt.hop)
    what_if = ms.answer(eid("172.16.5.5"), Requester(), NOW)
    assert what_if.mapping.negative
    # A negative answer covers nothing that a source knows.
    assert answers(ask(ms, "172.32.0.1")) == [("172.32.0.0/11", [])]
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/16", [ETR])]


def test_another_map_resolver_is_asked_once_per_nonce() -> None:
    other = Endpoint(ipaddress.ip_address("198.51.100.5"), 4342)
    ms = registered("10.1.0.0/16", sources=[OtherMapResolver([other])])
    data = ecm(request("172.16.5.5", nonce=9))
    (send,) = ms.receive(data, endpoint(ITR), NOW)
    assert send == SendControl(data, other)
    # It came back: the Map-Resolvers point at each other. Then we know nothing.
    assert replies(ms.receive(data, endpoint(ITR), NOW))


# --- limits ---


def test_limits_per_eid_per_source_and_in_total() -> None:
    ms = registered("10.1.0.0/16", limits={"map_requests_per_source": 10, "map_requests_total": 25})
    found = [
        dropped(ms.receive(ecm(request("10.1.1.1", nonce=n)), endpoint(ITR), NOW)) for n in range(5)
    ]
    assert found == [[], [], [], ["rate-limited-eid"], ["rate-limited-eid"]]
    for n in range(5):
        ms.receive(ecm(request(f"10.1.2.{n}")), endpoint(ITR), NOW)
    over = ms.receive(ecm(request("10.1.3.1")), endpoint(ITR), NOW)
    assert dropped(over) == ["rate-limited-source"]
    reasons = [
        dropped(ms.receive(ecm(request("10.1.3.1", itr=(f"192.0.2.{n}",))), endpoint(ITR), NOW))
        for n in range(10, 30)
    ]
    assert reasons == [[]] * 15 + [["rate-limited-total"]] * 5
    assert answers(ask(ms, "10.1.1.1", NOW + 4)) == [("10.1.0.0/16", [ETR])]


def test_no_reply_is_larger_than_the_stated_factor() -> None:
    rlocs = [f"203.0.113.{n}" for n in range(1, 60)]
    ms = registered(limits={"amplification": 4})
    etr = Etr()
    eids = [record(f"10.{n}.0.0/16", *rlocs[: n * 3]) for n in range(1, 18)]
    for one in eids:
        ms.receive(etr.register(one), etr.source, NOW)
    seen = set()
    for n in range(1, 18):
        data = ecm(request(f"10.{n}.1.1"))
        actions = ms.receive(data, endpoint(ITR), NOW)
        for action in actions:
            if isinstance(action, SendControl):
                assert len(action.data) <= 4 * len(data)
                seen.add("answered")
        seen.update(dropped(actions))
    assert seen == {"answered", "amplification"}


def test_requests_leave_no_state_behind_that_grows() -> None:
    ms = registered("10.1.0.0/16", limits={"requesters": 100, "map_requests_per_source": 100_000})
    for n in range(2000):
        source = f"198.18.{n >> 8}.{n & 255}"
        ms.receive(
            ecm(request(f"172.{n & 15}.{n >> 4 & 255}.9", itr=(source,))), endpoint(ITR), NOW
        )
    assert ms.gauges()["requesters"] <= 100
    assert ms.gauges()["requesters-forgotten"] >= 1800
    assert ms.gauges()["registrations"] == 1
    assert not ms.gauges()["smrs-pending"]


def test_a_request_with_many_records_is_answered_once() -> None:
    ms = registered("10.1.0.0/16", "10.2.0.0/16")
    records = tuple(RequestRecord(eid(f"10.{n}.0.1")) for n in (1, 2))
    actions = ms.receive(ecm(request("10.1.0.1", records=records)), endpoint(ITR), NOW)
    assert answers(replies(actions)[0]) == [("10.1.0.0/16", [ETR]), ("10.2.0.0/16", [ETR])]


def test_the_requester_that_policy_sees() -> None:
    seen: list[Requester] = []

    class Watch(Deny):
        def evaluate(self, mapping: Mapping, requester: Requester, now: float) -> Answer:
            seen.append(requester)
            return Answer(mapping)

    ms = registered("10.1.0.0/16", policy=Watch())
    message = MapRequest(
        1,
        eid("10.9.9.9"),
        (ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address(ITR)),
        (RequestRecord(eid("10.1.1.1")),),
        pitr=True,
        xtr_id=7,
        site_id=8,
    )
    ms.receive(ecm(message), endpoint(ITR), NOW)
    assert seen[-1] == Requester(
        (ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address(ITR)),
        eid("10.9.9.9"),
        7,
        8,
        True,
    )


# --- RFC 9306 ---


def test_an_itr_rloc_of_an_unknown_lcaf_is_ignored() -> None:
    ms = registered("10.1.0.0/16")
    itr = ipaddress.ip_address(ITR)
    assert answers(ask(ms, "10.1.2.3", itr=(OpaqueLcaf(200, b"\1"), itr)))
    only = ms.receive(ecm(request("10.1.2.4", itr=(OpaqueLcaf(200, b"\1"),))), endpoint(ITR), NOW)
    assert dropped(only) == ["no-itr-rloc"]


@pytest.mark.parametrize("wrap", [MapRequest.serialize, ecm])
def test_a_vendor_specific_lcaf_drops_the_map_request(wrap: Any) -> None:
    ms = registered("10.1.0.0/16")
    vendor = request("10.1.2.3", itr=(VendorSpecific(0x5E, b"\1"), ipaddress.ip_address(ITR)))
    actions = ms.receive(wrap(vendor), endpoint(ITR), NOW)
    assert dropped(actions) == ["unsupported"]
    assert not replies(actions)
