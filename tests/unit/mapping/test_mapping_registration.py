"""Map-Registers: who may register what, and what everybody is told about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mapping_helpers import (
    ETR,
    ETR2,
    KEY,
    NOW,
    Etr,
    answers,
    ask,
    changed,
    dropped,
    endpoint,
    events,
    notifies,
    record,
    sent,
    site,
    system,
)

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.address import SourceDestPrefix
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.store import Table
from lisp_sdn.model import Locator
from lisp_sdn.wire import EidRecord, MapRegister, OpaqueLcaf, VendorSpecific, auth

VECTORS = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parents[2] / "vectors" / "rfc.json").read_text())[
        "vectors"
    ]
}
VECTOR_SITE = site(prefixes=["198.51.100.0/24"])


def refusal_hint(actions: list[object]) -> str:
    (event,) = [a for a in actions if isinstance(a, Event) and a.kind == "registration.refused"]
    return str(event.data["hint"])


# --- the RFC's own examples ---


@pytest.mark.parametrize(("register", "notify"), [("V06", "V08"), ("V07", "B10")])
def test_vector_is_acknowledged_octet_by_octet(register: str, notify: str) -> None:
    ms = system(VECTOR_SITE)
    data = bytes.fromhex(VECTORS[register]["hex"])
    actions = ms.receive(data, endpoint("203.0.113.1", 40000), NOW)
    ((message, target),) = sent(actions)
    assert message.serialize().hex() == VECTORS[notify]["hex"]
    assert target == endpoint("203.0.113.1", 4342)
    assert answers(ask(ms, "198.51.100.140")) == [
        ("198.51.100.128/25", ["203.0.113.1", "203.0.113.2"])
    ]


# --- RFC 9306 ---


def test_locators_of_an_unknown_lcaf_are_ignored() -> None:
    """Section 3. The MAC covers the octets as they were sent."""
    ms, etr = system(), Etr()
    (known,) = record("10.1.0.0/16", ETR).locators
    both = EidRecord(record("10.1.0.0/16").eid, (Locator(OpaqueLcaf(200, b"\1")), known))
    actions = ms.receive(etr.register(both, want_notify=True), etr.source, NOW)
    assert not dropped(actions)
    assert answers(ask(ms, "10.1.2.3")) == [("10.1.0.0/16", [ETR])]


def test_a_vendor_specific_lcaf_drops_the_message() -> None:
    """Section 4: no OUI is understood here."""
    ms, etr = system(), Etr()
    vendor = EidRecord(record("10.1.0.0/16").eid, (Locator(VendorSpecific(0x5E, b"\1")),))
    actions = ms.receive(etr.register(vendor, want_notify=True), etr.source, NOW)
    assert dropped(actions) == ["unsupported"]
    assert len(actions) == 1
    assert ms.report.counters["dropped-unsupported"] == 1
    assert ms.database.head(vendor.eid) is None


# --- keys ---


def test_sha1_is_refused_unless_the_site_allows_it() -> None:
    data = bytes.fromhex(VECTORS["V05"]["hex"])
    actions = system(VECTOR_SITE).receive(data, endpoint(ETR), NOW)
    assert dropped(actions) == ["algorithm-not-allowed"]
    assert "hmac-sha-1-96" in refusal_hint(actions)
    weak = {**VECTOR_SITE, "allowed_algorithms": ["hmac-sha-1-96", "hmac-sha-256-128"]}
    weak["authentication_keys"] = [
        {"key_id": 1, "key": KEY.decode(), "algorithm": "hmac-sha-256-128"}
    ]
    assert len(notifies(system(weak).receive(data, endpoint(ETR), NOW))) == 1


def test_both_scopes_of_the_mac_are_accepted() -> None:
    whole = VECTORS["B01"]["alternates"]["mac_over_whole_message_incl_xtrid_siteid"]
    for data in (VECTORS["B01"]["hex"], whole["message_hex"]):
        ms = system(VECTOR_SITE)
        assert notifies(ms.receive(bytes.fromhex(data), endpoint(ETR), NOW))
        (entry,) = ms.inventory.registrations(None)
        assert entry.xtr_id == 0x101112131415161718191A1B1C1D1E1F
        assert entry.site_id == 0x42


# --- authentication ---


def test_one_flipped_bit_anywhere_refuses_the_register() -> None:
    data = bytes.fromhex(VECTORS["V07"]["hex"])
    for position in range(len(data)):
        wrong = bytearray(data)
        wrong[position] ^= 1
        ms = system(VECTOR_SITE)
        actions = ms.receive(bytes(wrong), endpoint(ETR), NOW)
        assert not notifies(actions), position
        assert not ms.database.registered, position
        assert dropped(actions), position


def test_all_zero_macs_are_never_accepted() -> None:
    ms = system()
    message = MapRegister(7, (record("10.1.2.0/24", ETR),), 1, 2, bytes(16))
    for nonce in range(64):
        data = MapRegister(nonce, message.records, 1, 2, bytes(16)).serialize()
        assert dropped(ms.receive(data, endpoint(ETR), NOW)) == ["bad_digest"]
    assert ms.report.counters["map-registers-in-auth-failed"] == 64


def test_two_keys_are_live_at_once_and_a_third_is_named() -> None:
    keys = [{"key_id": 1, "key": "old"}, {"key_id": 2, "key": "new"}]
    ms = system(site(keys=keys))
    old, new = Etr(key=b"old"), Etr(key_id=2, key=b"new", nonce=5)
    for etr in (old, new):
        data = etr.register(record("10.1.2.0/24", ETR), want_notify=True)
        (notify,) = notifies(ms.receive(data, etr.source, NOW))
        assert notify.key_id == etr.key_id
    unknown = Etr(key_id=3, key=b"new")
    actions = ms.receive(unknown.register(record("10.1.2.0/24", ETR)), unknown.source, NOW)
    assert dropped(actions) == ["unknown_key"]
    assert "Key ID 3, only 1, 2" in refusal_hint(actions)


def test_no_refusal_shows_the_key() -> None:
    ms = system(site(keys=[{"key_id": 1, "key": "s3cr3t-of-the-site"}]))
    actions = ms.receive(Etr(key=b"other").register(record("10.1.2.0/24")), endpoint(ETR), NOW)
    assert dropped(actions) == ["bad_digest"]
    assert "s3cr3t" not in repr(actions) + repr(ms.config)


def test_the_mac_length_to_send_is_a_setting_of_the_site() -> None:
    for length, octets in (("truncated", 16), ("full", 32)):
        ms, etr = system(site(mac_length=length)), Etr()
        data = etr.register(record("10.1.2.0/24", ETR), want_notify=True)
        (notify,) = notifies(ms.receive(data, etr.source, NOW))
        assert len(notify.auth_data) == octets


# --- nonces ---


def test_a_replay_is_refused_and_a_lost_notify_is_sent_again() -> None:
    ms, etr = system(), Etr()
    first = etr.register(record("10.1.2.0/24", ETR), want_notify=True)
    second = etr.register(record("10.1.2.0/24", ETR2), want_notify=True)
    ms.receive(first, etr.source, NOW)
    (notify,) = notifies(ms.receive(second, etr.source, NOW))
    # Byte-identical copy of the last one: acknowledged, nothing processed, MAC checked.
    again = ms.receive(second, etr.source, NOW + 1)
    assert notifies(again) == [notify]
    assert not events(again)
    assert not changed(again)
    (entry,) = ms.inventory.registrations(None)
    assert entry.refreshed == NOW
    # An older one, or the last one from elsewhere, is a replay.
    assert dropped(ms.receive(first, etr.source, NOW + 1)) == ["replayed_nonce"]
    assert dropped(ms.receive(second, endpoint("198.18.0.66"), NOW + 1)) == ["replayed_nonce"]
    assert answers(ask(ms, "10.1.2.3")) == [("10.1.2.0/24", [ETR2])]


def test_a_captured_register_is_no_good_under_another_xtr_id() -> None:
    ms, etr = system(), Etr(flags={"xtr_id": 1, "site_id": 9})
    data = etr.register(record("10.1.2.0/24", "203.0.113.9"))
    ms.receive(data, etr.source, NOW)
    forged = data[:-24] + (2).to_bytes(16, "big") + data[-8:]
    assert dropped(ms.receive(forged, etr.source, NOW)) == ["replayed_nonce"]


def test_etrs_with_xtr_ids_have_nonces_of_their_own() -> None:
    ms = system()
    for xtr_id, nonce in ((1, 1000), (2, 5)):
        etr = Etr(nonce=nonce, address=f"203.0.113.{xtr_id}")
        data = MapRegister(
            nonce, (record("10.1.2.0/24", etr.address),), proxy_reply=True, xtr_id=xtr_id, site_id=7
        )
        signed = auth.sign(data, 1, KEY, 3, scope=auth.MacScope.MESSAGE)
        assert not dropped(ms.receive(signed, etr.source, NOW))
    assert ms.database.registered == 2


def test_etrs_without_xtr_id_are_told_apart_by_address() -> None:
    ms = system()
    one, two = Etr(nonce=1000), Etr(ETR2, nonce=5)
    assert not dropped(ms.receive(one.register(record("10.1.2.0/24", ETR)), one.source, NOW))
    assert not dropped(ms.receive(two.register(record("10.1.2.0/24", ETR2)), two.source, NOW))
    assert ms.database.registered == 2


@pytest.mark.parametrize(
    ("rule", "refused"),
    [("strictly-increasing", [True, True]), ("not-seen", [False, True]), ("off", [False, False])],
)
def test_nonce_rules(rule: str, refused: list[bool]) -> None:
    ms, etr = system(site(nonce_check=rule)), Etr(nonce=50)
    ms.receive(etr.register(record("10.1.2.0/24", ETR)), etr.source, NOW)
    etr.nonce = 10
    lower = etr.register(record("10.1.2.0/24", ETR))
    etr.nonce = 10
    same_nonce = etr.register(record("10.1.2.0/24", ETR2))
    found = [bool(dropped(ms.receive(data, etr.source, NOW))) for data in (lower, same_nonce)]
    assert found == refused


# --- what may be registered ---


@pytest.mark.parametrize(
    ("eid", "reason", "hint"),
    [
        ("192.0.2.0/24", "eid-not-configured", "in no EID-prefix of a site"),
        ("10.0.0.0/8", "eid-not-configured", "in no EID-prefix of a site"),
        ("[7] 10.1.0.0/16", "eid-not-configured", "in no EID-prefix of a site"),
        ("10.2.1.0/24", "more-specific", "set accept_more_specifics"),
        ("10.3.0.0/16", "bad_digest", "not made with Key ID 1 of site two"),
    ],
)
def test_foreign_prefixes_are_refused_with_a_reason(eid: str, reason: str, hint: str) -> None:
    exact = {"prefix": "10.2.0.0/16"}
    ms = system(
        site(prefixes=["10.1.0.0/16", exact]),
        site("two", prefixes=["10.3.0.0/16"], keys=[{"key_id": 1, "key": "another"}]),
    )
    etr = Etr()
    actions = ms.receive(etr.register(record(eid, ETR), want_notify=True), etr.source, NOW)
    assert dropped(actions) == [reason]
    assert hint in refusal_hint(actions)
    assert not notifies(actions)
    assert not ms.database.registered
    (refusal,) = (action for action in actions if isinstance(action, Dropped))
    assert (refusal.reason, refusal.source) == (reason, ETR)
    assert hint in refusal.detail
    assert ms.report.counters[f"dropped-{reason}"] == 1


def test_the_good_records_of_a_register_are_taken_and_named_in_the_notify() -> None:
    ms = system(site(), site("two", prefixes=["10.3.0.0/16"], keys=[{"key_id": 1, "key": "x"}]))
    etr = Etr()
    data = etr.register(
        record("10.3.1.0/24", ETR),
        record("10.1.1.0/24", ETR),
        record("192.0.2.0/24", ETR),
        record("10.1.2.0/24", "224.0.0.5"),
        want_notify=True,
    )
    actions = ms.receive(data, etr.source, NOW)
    assert sorted(dropped(actions)) == ["bad-rloc", "eid-not-configured", "eid-of-other-site"]
    (notify,) = notifies(actions)
    assert [str(r.eid) for r in notify.records] == ["10.1.1.0/24"]
    assert ms.database.registered == 1


def test_a_flood_of_refusals_is_counted_and_leaves_the_event_log_alone() -> None:
    ms = system()
    found: list[str] = []
    for n in range(500):
        etr = Etr(key=b"guess", nonce=n)
        found += events(ms.receive(etr.register(record("10.1.1.0/24")), etr.source, NOW + n / 500))
    assert 50 <= len(found) <= 60
    assert ms.report.counters["dropped-bad_digest"] == 500


@pytest.mark.parametrize("rloc", ["255.255.255.255", "224.0.0.5", "0.0.0.0", "ff02::1"])
def test_an_rloc_is_a_unicast_address(rloc: str) -> None:
    ms, etr = system(), Etr()
    actions = ms.receive(etr.register(record("10.1.1.0/24", rloc)), etr.source, NOW)
    assert dropped(actions) == ["bad-rloc"]


def test_rlocs_outside_allowed_rlocs_are_refused() -> None:
    ms, etr = system(site(allowed_rlocs=["203.0.113.0/24"])), Etr()
    actions = ms.receive(
        etr.register(record("10.1.1.0/24", ETR), record("10.1.2.0/24", ETR, "198.18.0.1")),
        etr.source,
        NOW,
    )
    assert dropped(actions) == ["rloc-not-allowed"]
    assert "198.18.0.1 is not in allowed_rlocs (203.0.113.0/24)" in refusal_hint(actions)
    assert [str(entry.eid) for entry in ms.inventory.registrations(None)] == ["10.1.1.0/24"]


def test_quotas_of_site_and_prefix() -> None:
    limited = {"prefix": "10.1.0.0/16", "accept_more_specifics": True, "max_more_specifics": 2}
    ms, etr = system(site(prefixes=[limited, "10.2.0.0/16"], max_registrations=4)), Etr()
    records = [record(f"10.1.{n}.0/24", ETR) for n in range(4)]
    actions = ms.receive(etr.register(record("10.1.0.0/16", ETR), *records), etr.source, NOW)
    assert dropped(actions) == ["too-many-more-specifics"] * 2
    records = [record(f"10.2.{n}.0/24", ETR) for n in range(4)]
    actions = ms.receive(etr.register(*records), etr.source, NOW)
    assert dropped(actions) == ["too-many-registrations"] * 3
    # Withdrawing makes room, and refreshing needs none.
    ms.receive(etr.register(record("10.1.0.0/24", ttl=0)), etr.source, NOW)
    actions = ms.receive(
        etr.register(record("10.1.9.0/24", ETR), record("10.1.1.0/24", ETR)), etr.source, NOW
    )
    assert not dropped(actions)
    assert ms.database.registered == 4
    assert ms.sites.by_name["one"].registrations == 4


def test_the_same_eid_twice_in_one_register_counts_once() -> None:
    ms, etr = system(), Etr()
    data = etr.register(record("10.1.1.0/24", ETR), record("10.1.1.0/24", ETR2))
    ms.receive(data, etr.source, NOW)
    assert ms.database.registered == 1
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.1.0/24", [ETR2])]


def test_a_site_that_is_shut_down_registers_nothing() -> None:
    ms, etr = system(site(shutdown=True)), Etr()
    actions = ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW)
    assert dropped(actions) == ["site-shutdown"]


def test_an_older_map_version_is_refused() -> None:
    ms, etr = system(), Etr()
    for version, reasons in ((69, []), (70, []), (69, ["old-map-version"]), (0, []), (4095, [])):
        data = etr.register(record("10.1.1.0/24", ETR, version=version))
        assert dropped(ms.receive(data, etr.source, NOW)) == reasons, version
    # Serial order: 1 follows 4095; Q-14 at distance 2048.
    for version, reasons in ((1, []), (4095, ["old-map-version"]), (2049, []), (1, None)):
        data = etr.register(record("10.1.1.0/24", ETR, version=version))
        expected = ["old-map-version"] if reasons is None else reasons
        assert dropped(ms.receive(data, etr.source, NOW)) == expected, version


# --- life of a registration ---


def test_expiry_after_three_minutes_without_register() -> None:
    ms, etr = system(), Etr()
    ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW)
    ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW + 60)
    assert not events(ms.handle_timer(NOW + 239))
    assert ms.next_timer() == NOW + 240
    actions = ms.handle_timer(NOW + 240)
    assert events(actions) == ["registration.expired"]
    assert [str(eid) for eid in changed(actions)] == ["10.1.1.0/24"]
    assert ms.next_timer() is None
    assert ms.database.registered == 0
    assert ms.sites.by_name["one"].registrations == 0


def test_use_ttl_makes_the_record_ttl_the_timeout() -> None:
    ms, etr = system(), Etr()
    ms.receive(etr.register(record("10.1.1.0/24", ETR, ttl=1), use_ttl=True), etr.source, NOW)
    assert not events(ms.handle_timer(NOW + 59.9))
    assert events(ms.handle_timer(NOW + 60)) == ["registration.expired"]


def test_a_shorter_timeout_takes_effect_at_once() -> None:
    ms, etr = system(), Etr()
    ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW)
    ms.receive(etr.register(record("10.1.1.0/24", ETR, ttl=1), use_ttl=True), etr.source, NOW + 1)
    assert events(ms.handle_timer(NOW + 61)) == ["registration.expired"]
    assert not events(ms.handle_timer(NOW + 500))


def test_ttl_zero_withdraws_at_once() -> None:
    ms, etr = system(), Etr()
    ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW)
    data = etr.register(record("10.1.1.0/24", ttl=0), want_notify=True)
    actions = ms.receive(data, etr.source, NOW)
    assert events(actions) == ["registration.removed"]
    assert changed(actions)
    assert [r.ttl_minutes for r in notifies(actions)[0].records] == [0]
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.0.0/16", [])]


def test_a_refresh_that_changes_nothing_tells_nobody() -> None:
    ms, etr = system(), Etr()
    ms.receive(etr.register(record("10.1.1.0/24", ETR, ETR2)), etr.source, NOW)
    actions = ms.receive(etr.register(record("10.1.1.0/24", ETR2, ETR)), etr.source, NOW + 60)
    assert actions == []


def test_merge_is_the_union_and_without_merge_the_latest_change_wins() -> None:
    ms = system()
    one = Etr(flags={"merge": True, "proxy_reply": True})
    two = Etr(ETR2, flags={"merge": True, "proxy_reply": True})
    ms.receive(one.register(record("10.1.1.0/24", ETR)), one.source, NOW)
    ms.receive(two.register(record("10.1.1.0/24", ETR2, ETR, ttl=60)), two.source, NOW)
    reply = ask(ms, "10.1.1.1")
    assert answers(reply) == [("10.1.1.0/24", [ETR, ETR2])]
    assert reply.records[0].ttl_minutes == 60
    # Without the bit: replaced, and a refresh of the other one does not bring it back.
    one.flags = two.flags = {"proxy_reply": True}
    ms.receive(one.register(record("10.1.1.0/24", ETR)), one.source, NOW + 10)
    assert answers(ask(ms, "10.1.1.1", NOW + 10)) == [("10.1.1.0/24", [ETR])]
    ms.receive(two.register(record("10.1.1.0/24", ETR2)), two.source, NOW + 20)
    assert answers(ask(ms, "10.1.1.1", NOW + 20)) == [("10.1.1.0/24", [ETR2])]
    actions = ms.receive(one.register(record("10.1.1.0/24", ETR)), one.source, NOW + 30)
    assert not changed(actions)
    assert answers(ask(ms, "10.1.1.1", NOW + 30)) == [("10.1.1.0/24", [ETR2])]
    # When the winner goes the other one is still there.
    gone = ms.receive(two.register(record("10.1.1.0/24", ttl=0)), two.source, NOW + 40)
    assert changed(gone)
    assert answers(ask(ms, "10.1.1.1", NOW + 40)) == [("10.1.1.0/24", [ETR])]


def test_replies_carry_no_local_and_no_probed_bit() -> None:
    ms, etr = system(), Etr()
    local = record("10.1.1.0/24", ETR)
    marked = EidRecord(
        local.eid, tuple(type(x)(x.rloc, local=True) for x in local.locators), authoritative=True
    )
    ms.receive(etr.register(marked), etr.source, NOW)
    (found,) = ask(ms, "10.1.1.1").records
    assert not found.authoritative
    assert not any(locator.local or locator.probed for locator in found.locators)


def test_registrations_keyed_by_source_are_kept_apart() -> None:
    ms, etr = system(), Etr()
    plain = record("10.1.1.0/24", ETR)
    key = SourceDestPrefix(record("10.1.9.0/24").eid, plain.eid)
    keyed = EidRecord(key, record("10.1.9.0/24", ETR2).locators)
    ms.receive(etr.register(plain, keyed), etr.source, NOW)
    assert answers(ask(ms, "10.1.1.1", source_eid="10.1.9.4")) == [("10.1.1.0/24", [ETR2])]
    assert answers(ask(ms, "10.1.1.1", source_eid="10.1.8.4")) == [("10.1.1.0/24", [ETR])]
    assert len(list(ms.inventory.registrations(None))) == 2
    ms.receive(etr.register(EidRecord(key, ttl_minutes=0)), etr.source, NOW)
    assert answers(ask(ms, "10.1.1.1", source_eid="10.1.9.4")) == [("10.1.1.0/24", [ETR])]


def test_the_pseudo_endpoint_of_our_own_xtrs_is_answered() -> None:
    ms, local = system(), endpoint("127.0.0.1", 4342)
    etr = Etr(flags={"xtr_id": 5, "site_id": 1, "proxy_reply": True, "want_notify": True})
    ((_, target),) = sent(ms.receive(etr.register(record("10.1.1.0/24", ETR)), local, NOW))
    assert target == local


def test_a_map_notify_waits_until_the_store_is_durable(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store")
    ms, etr = system(store=store), Etr()
    data = etr.register(record("10.1.1.0/24", ETR), want_notify=True)
    assert not notifies(ms.receive(data, etr.source, NOW))
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.1.0/24", [ETR])]
    assert not ms.durable(store.durable_seq, NOW)
    assert store.count(Table.REGISTRATIONS) == 0
    assert len(notifies(ms.durable(store.flush(), NOW))) == 1
    assert store.count(Table.REGISTRATIONS) == 1
    assert not ms.durable(store.durable_seq, NOW)
    store.close()


def test_a_full_store_refuses_the_register_and_changes_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store", max_pending=2)
    ms = system(store=store)
    etr = Etr()
    ms.receive(etr.register(record("10.1.1.0/24", ETR)), etr.source, NOW)
    data = etr.register(record("10.1.1.0/24", ETR2), record("10.1.3.0/24", ETR), want_notify=True)
    actions = ms.receive(data, etr.source, NOW)
    assert dropped(actions) == ["store_full"]
    assert not notifies(actions)
    assert answers(ask(ms, "10.1.1.1")) == [("10.1.1.0/24", [ETR])]
    assert ms.database.registered == 1
