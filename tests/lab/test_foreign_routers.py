"""Foreign ETRs and ITRs at our Map-Server and Map-Resolver, over UDP port 4342.

The routers speak what RFC 9301 says and what deployed ones are known to send. Their bytes come from
foreign_wire.py, which shares nothing with lisp_sdn.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import foreign_wire as wire
import pytest
from capture import Capture
from foreign_lab import (
    ETR,
    ITR,
    MAP_SERVER,
    MAP_SERVER_V6,
    OUR_HOST,
    OUR_RLOC,
    RLOC_V6,
    RLOCS,
    Foreign,
    ForeignLab,
    Peer,
)
from foreign_wire import HKDF, NATIVELY_FORWARD, SHA1, SHA256, Record, Rloc

if TYPE_CHECKING:
    from labnodes import LispNode

REPOSITORY = Path(__file__).resolve().parents[2]
FOREIGN_RLOC = RLOCS[0]
FOREIGN_HOST = "10.9.0.1"
SMR_INTERVAL = 3.0


@pytest.fixture(scope="module")
def lab(_lab_possible: None) -> Iterator[ForeignLab]:
    with ForeignLab() as lab:
        yield lab


@pytest.fixture(scope="module")
def router(lab: ForeignLab) -> Iterator[Foreign]:
    """A foreign xTR that is registered."""
    with Foreign(
        lab.node, rloc=FOREIGN_RLOC, key="foreign-secret", eid="10.9.0.0/16",
        host=FOREIGN_HOST, xtr_id=91, proxy=True,
    ) as router:  # fmt: skip
        assert router.wait("registered")["authentic"]
        yield router


@pytest.fixture
def etr(lab: ForeignLab) -> Iterator[Peer]:
    with Peer(lab.node, ETR) as peer:
        yield peer


@pytest.fixture
def itr(lab: ForeignLab) -> Iterator[Peer]:
    with Peer(lab.node, ITR) as peer:
        yield peer


def mapping(eid: str, *rlocs: str, iid: int = 0, ttl: int = 1440) -> Record:
    return Record(eid, tuple(Rloc(rloc) for rloc in rlocs or (ETR,)), ttl=ttl, iid=iid)


def register(lab: ForeignLab, etr: Peer, *records: Record, key: str = "first") -> None:
    """A Map-Register of the site "any" with proxy-reply; it must be acknowledged."""
    message = wire.map_register(lab.next_nonce(), records, key, HKDF, proxy=True)
    notify = etr.notify(message, key)
    assert notify is not None
    assert notify.authentic


def run(node: LispNode, command: str, *words: str) -> str:
    """The output of a command of ours on a node."""
    program = f"import sys; from lisp_sdn.cli.{command} import main; sys.exit(main())"
    environment = ("env", f"PYTHONPATH={REPOSITORY}")
    return node.do(*environment, sys.executable, "-c", program, *words)


# --- Map-Register ---


@pytest.mark.parametrize("site", ["any", "full"])
@pytest.mark.parametrize("full", [False, True], ids=["truncated", "full"])
@pytest.mark.parametrize("algorithm", [SHA1, SHA256, HKDF])
def test_every_algorithm_and_mac_length_is_acknowledged(
    lab: ForeignLab, etr: Peer, algorithm: int, full: bool, site: str
) -> None:
    item = mapping("10.12.1.0/24" if site == "any" else "10.13.1.0/24")
    nonce = lab.next_nonce()
    notify = etr.notify(wire.map_register(nonce, [item], "first", algorithm, full=full), "first")
    assert notify is not None
    assert etr.sender == (MAP_SERVER, 4342)
    assert notify.authentic
    expected = nonce, 1, algorithm, wire.LENGTHS[algorithm][site == "full"]
    assert (notify.nonce, notify.key_id, notify.algorithm, notify.length) == expected
    assert [(record.eid, record.ttl) for record in notify.records] == [(item.eid, item.ttl)]


def test_two_keys_of_a_site_are_live_at_once(lab: ForeignLab, etr: Peer) -> None:
    for key_id, key in ((1, "first"), (2, "second")):
        nonce = lab.next_nonce()
        data = wire.map_register(nonce, [mapping("10.12.2.0/24")], key, key_id=key_id)
        notify = etr.notify(data, key)
        assert notify is not None
        assert (notify.key_id, notify.authentic) == (key_id, True)


@pytest.mark.parametrize("ids_in_mac", [False, True])
def test_a_register_with_xtr_id(lab: ForeignLab, etr: Peer, ids_in_mac: bool) -> None:
    """Both readings of where the MAC ends are in use."""
    xtr_id = 0xE0 + ids_in_mac
    ids = xtr_id.to_bytes(16, "big") + (12).to_bytes(8, "big")
    item = mapping("10.12.3.0/24")
    nonce = lab.next_nonce()
    notify = etr.notify(
        wire.map_register(nonce, [item], "first", ids=ids, ids_in_mac=ids_in_mac), "first"
    )
    assert notify is not None
    assert notify.authentic
    entries = lab.registered(item.eid)
    assert any(int(entry["xtr_id"] or "0", 16) == xtr_id for entry in entries), entries


def test_a_replay_is_refused_and_says_so(lab: ForeignLab, etr: Peer) -> None:
    first = wire.map_register(lab.next_nonce(), [mapping("10.12.4.0/24")], "first")
    second = wire.map_register(lab.next_nonce(), [mapping("10.12.4.0/24", "203.0.113.9")], "first")
    for message in (first, second):
        assert etr.notify(message, "first") is not None
    etr.send(first)
    assert etr.receive(0.5) is None
    refusal = lab.refusal("replayed_nonce", "10.12.4.0/24", ETR)
    assert "strictly-increasing" in refusal["detail"]
    (entry,) = lab.registered("10.12.4.0/24")
    assert [item["rloc"] for item in entry["locators"]] == ["203.0.113.9"]


REFUSED = {
    "a wrong key": ("10.15.0.0/24", "guess", SHA256, ETR, "bad_digest"),
    "an algorithm that is not allowed": (
        *("10.15.0.0/24", "strict", SHA1, ETR, "algorithm-not-allowed"),
    ),
    "an RLOC that is not allowed": (
        *("10.15.0.0/24", "strict", SHA256, "192.0.2.9", "rloc-not-allowed"),
    ),
    "a more-specific": ("10.15.0.0/25", "strict", SHA256, ETR, "more-specific"),
    "an EID of nobody": ("172.16.0.0/24", "strict", SHA256, ETR, "eid-not-configured"),
    "a site that is shut down": ("10.16.0.0/24", "shut", SHA256, ETR, "site-shutdown"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_no_refusal_is_silent(lab: ForeignLab, etr: Peer, what: str) -> None:
    eid, key, algorithm, rloc, reason = REFUSED[what]
    etr.send(wire.map_register(lab.next_nonce(), [mapping(eid, rloc)], key, algorithm))
    assert etr.receive(0.3) is None
    assert lab.refusal(reason, eid, ETR)["detail"]
    log = lab.net.ctl.log.read_text()
    assert any(reason in line and eid in line for line in log.splitlines()), log[-2000:]
    assert lab.registered(eid) == []


def test_random_nonces_and_full_sha1_macs_where_the_site_takes_them(
    lab: ForeignLab, itr: Peer
) -> None:
    """As one widely used router registers: no ids, raw key, SHA-1 in 20 octets, TTL 10 minutes."""
    item = mapping("10.14.0.0/24", ttl=10)
    with Peer(lab.node, RLOCS[3]) as oor:
        for _ in range(4):
            nonce = secrets.randbits(64)
            notify = oor.notify(
                wire.map_register(nonce, [item], "oor", SHA1, full=True, merge=True, proxy=True),
                "oor",
            )
            assert notify is not None
            assert notify.authentic
            assert (notify.nonce, notify.algorithm, notify.length) == (nonce, SHA1, 20)
            assert [record.eid for record in notify.records] == [item.eid]
    (record,) = itr.ask("10.14.0.7/32", 1).records
    assert (record.eid, record.ttl) == ("10.14.0.0/24", 10)


def test_a_withdrawn_mapping_is_gone(lab: ForeignLab, etr: Peer, itr: Peer) -> None:
    register(lab, etr, mapping("10.12.9.0/24"))
    assert itr.ask("10.12.9.1/32", 2).records[0].rlocs
    register(lab, etr, mapping("10.12.9.0/24", ttl=0))
    (record,) = itr.ask("10.12.9.1/32", 3).records
    assert (record.rlocs, record.action, record.ttl) == ((), NATIVELY_FORWARD, 1)


def test_over_ipv6(lab: ForeignLab) -> None:
    with Peer(lab.node, RLOC_V6) as peer:
        item = mapping("2001:db8:e12:1::/64", RLOC_V6)
        data = wire.map_register(lab.next_nonce(), [item], "first", HKDF, proxy=True)
        notify = peer.notify(data, "first")
        assert notify is not None
        assert notify.authentic
        assert peer.sender == (MAP_SERVER_V6, 4342)
        (record,) = peer.ask("2001:db8:e12:1::5/128", 4).records
    assert record.eid == item.eid
    assert [rloc.address for rloc in record.rlocs] == [RLOC_V6]


# --- Map-Request ---


def test_the_answer_goes_to_the_inner_source_port(lab: ForeignLab, etr: Peer) -> None:
    """lig and old ITRs use random ports, inside and outside, and listen on the inner one."""
    register(lab, etr, mapping("10.12.10.0/24"))
    with Peer(lab.node, ITR, 0) as outer, Peer(lab.node, ITR, 0) as listener:
        request = wire.map_request(5, "10.12.10.1/32", [ITR])
        outer.send(wire.ecm(request, (ITR, listener.port), "10.12.10.1"))
        data = listener.receive()
        assert data is not None
        assert wire.read_reply(data).records[0].eid == "10.12.10.0/24"
        assert outer.receive(0.1) is None


def test_more_specifics_come_with_the_less_specific(lab: ForeignLab, etr: Peer, itr: Peer) -> None:
    eids = ["10.12.64.0/18", "10.12.65.0/24", "10.12.66.0/24"]
    register(lab, etr, *(mapping(eid) for eid in eids))
    assert sorted(record.eid for record in itr.ask("10.12.64.5/32", 6).records) == eids
    (record,) = itr.ask("10.12.65.5/32", 7).records
    assert record.eid == "10.12.65.0/24"
    (rloc,) = record.rlocs
    # A proxy reply is nobody's own word: neither authoritative nor local nor probed.
    assert (record.authoritative, rloc) == (False, Rloc(ETR, local=False))


def test_instance_ids_and_holes(lab: ForeignLab, etr: Peer, itr: Peer) -> None:
    register(lab, etr, mapping("10.12.5.0/24", iid=7))
    (record,) = itr.ask("10.12.5.1/32", 8, iid=7).records
    assert (record.eid, record.iid, len(record.rlocs)) == ("10.12.5.0/24", 7, 1)
    (hole,) = itr.ask("10.12.200.1/32", 9, iid=7).records
    assert hole == Record("10.12.128.0/17", ttl=1, action=NATIVELY_FORWARD, iid=7)
    (near,) = itr.ask("10.12.6.1/32", 10, iid=7).records
    assert near == Record("10.12.6.0/23", ttl=1, action=NATIVELY_FORWARD, iid=7)
    (nobody,) = itr.ask("172.16.5.5/32", 11).records
    assert nobody == Record("128.0.0.0/1", ttl=15, action=NATIVELY_FORWARD)


def test_without_proxy_reply_the_etrs_answer_in_turn(lab: ForeignLab, itr: Peer) -> None:
    shared = {"key": "no-proxy", "eid": "10.20.0.0/16", "merge": True}
    with (
        Foreign(lab.node, rloc=RLOCS[1], host="10.20.0.1", xtr_id=1, **shared) as one,
        Foreign(lab.node, rloc=RLOCS[2], host="10.20.0.2", xtr_id=2, **shared) as two,
    ):
        for router in (one, two):
            assert router.wait("registered")["authentic"]
        sent, senders = [], []
        for last in range(6):
            request = wire.map_request(100 + last, f"10.20.1.{last}/32", [ITR])
            sent.append(request.hex())
            itr.send(wire.ecm(request, ("10.99.0.1", 4342), f"10.20.1.{last}"))
            data = itr.receive()
            assert data is not None
            reply = wire.read_reply(data)
            assert reply.nonce == 100 + last
            assert reply.records[0].authoritative
            senders.append(itr.sender[0])
        assert senders[:2] in ([RLOCS[1], RLOCS[2]], [RLOCS[2], RLOCS[1]])
        assert senders == senders[:2] * 3
        got = [*one.all("asked"), *two.all("asked")]
        assert sorted(item["message"] for item in got) == sorted(sent)
        assert all(item["inner"] == ["10.99.0.1", 4342] for item in got)


# --- change notification ---


def test_an_smr_is_repeated_until_the_itr_asks(lab: ForeignLab, router: Foreign, etr: Peer) -> None:
    register(lab, etr, mapping("10.12.30.0/24"))
    with Foreign(
        lab.node, rloc=RLOCS[3], key="foreign-secret", eid="10.19.0.0/16",
        host="10.19.0.1", xtr_id=94, deaf=True,
    ) as deaf:  # fmt: skip
        for asker in (router, deaf):
            asker.do("resolve", eid="10.12.30.7/32")
            asker.wait("map-reply", len(asker.all("map-reply")) + 1)
        before = len(router.all("map-reply"))
        register(lab, etr, mapping("10.12.30.0/24", "203.0.113.77"))
        smr = router.wait("smr")
        assert smr["source_eid"] == "10.12.30.0"
        assert smr["eids"] == ["10.9.0.1/32"]
        reply = router.wait("map-reply", before + 1)
        assert reply["records"][0][1][0][0] == "203.0.113.77"
        deaf.wait("smr", 2, timeout=SMR_INTERVAL + 2)
        assert len(router.all("smr")) == 1


def test_publish_subscribe(lab: ForeignLab, router: Foreign, etr: Peer) -> None:
    register(lab, etr, mapping("10.12.40.0/24"))
    router.do("subscribe", eid="10.12.40.0/24")
    confirmed = router.wait("subscribed")
    assert confirmed["authentic"]
    assert confirmed["records"][0][1][0][0] == ETR
    register(lab, etr, mapping("10.12.40.0/24", "203.0.113.78"))
    published = router.wait("published")
    assert published["nonce"] == confirmed["nonce"] + 1
    assert published["records"][0][1][0][0] == "203.0.113.78"
    register(lab, etr, mapping("10.12.40.0/24", ttl=0))
    withdrawn = router.wait("published", 2)
    assert (withdrawn["nonce"], withdrawn["records"][0][2]) == (confirmed["nonce"] + 2, 0)
    time.sleep(SMR_INTERVAL + 0.5)
    assert router.all("published-again") == [], "it was acknowledged"


# --- data: our xTR on Open vSwitch and a foreign one ---


def test_hosts_reach_each_other_across_implementations(lab: ForeignLab, router: Foreign) -> None:
    with Capture(lab.node, "eth0", "udp port 4341") as capture:
        assert lab.h1.ping(FOREIGN_HOST, 5, 0.2).received == 5, "not even the first one is lost"
        echo = router.wait("echo", 5)
        assert (echo["source"], echo["target"], echo["rloc"]) == (OUR_HOST, FOREIGN_HOST, OUR_RLOC)
        for sequence in (1, 2, 3):
            router.do("ping", target=OUR_HOST, sequence=sequence)
        assert router.wait("echo-reply", 3)["source"] == OUR_HOST
    rows = capture.rows("udp.srcport != 4341 && ip.dst == 203.0.113.1", "ip.src", "udp.dstport")
    assert rows
    assert {row[0].split(",")[0] for row in rows} == {OUR_RLOC}
    cached = lab.get("/xtrs/ours/map-cache")["items"]
    (entry,) = [item for item in cached if item["eid"] == "10.9.0.0/16"]
    assert [item["rloc"] for item in entry["locators"]] == [FOREIGN_RLOC]


# --- the tools that people use ---


def test_lig_from_a_foreign_host(lab: ForeignLab, router: Foreign) -> None:
    text = run(lab.node, "lig", FOREIGN_HOST, "--to", MAP_SERVER, "--json")
    (answer,) = json.loads(text)["records"]
    assert answer["eid_prefix"] == "10.9.0.0/16"
    assert [item["rloc"] for item in answer["locators"]] == [FOREIGN_RLOC]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("site", "10.9.0.0/16"),
        ("site foreign", "10.9.0.0/16"),
        ("registrations", FOREIGN_RLOC),
        ("map-cache", "10.9.0.0/16"),
    ],
)
def test_lispctl_shows_foreign_sites(
    lab: ForeignLab, router: Foreign, what: str, expected: str
) -> None:
    text = run(lab.net.ctl, "lispctl", "show", *what.split(), "--json")
    assert json.loads(text)
    assert expected in text


def test_a_killed_controller_remembers_what_it_acknowledged(
    lab: ForeignLab, etr: Peer, itr: Peer
) -> None:
    """kill -9: registrations answer at once, and a captured Map-Register stays worthless."""
    captured = wire.map_register(
        lab.next_nonce(), [mapping("10.12.50.0/24")], "first", HKDF, proxy=True
    )
    register(lab, etr, mapping("10.12.51.0/24"))
    etr.send(captured)
    assert etr.receive(0.3) is None, "a later one was taken already"
    register(lab, etr, mapping("10.12.50.0/24", "203.0.113.50"))
    lab.net.ctl.kill()
    lab.start()
    (record,) = itr.ask("10.12.50.1/32", 12).records
    assert [rloc.address for rloc in record.rlocs] == ["203.0.113.50"]
    etr.send(captured)
    assert etr.receive(0.3) is None
    assert lab.refusal("replayed_nonce", "10.12.50.0/24", ETR)


def test_nothing_of_this_made_the_controller_stumble(lab: ForeignLab) -> None:
    """Runs last in this file."""
    assert "Traceback" not in lab.net.ctl.log.read_text(errors="replace")
