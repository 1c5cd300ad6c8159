"""The ledger is bounded and says what it forgot."""

from lisp_sdn.actions import Dropped, Event
from lisp_sdn.ledger import REFUSAL_EVENTS, REFUSAL_PERIOD, Ledger


def test_equal_refusals_are_counted_together() -> None:
    ledger = Ledger()
    ledger.note_dropped(Dropped("map-server", "bad_digest", "first", "192.0.2.1"), 10.0)
    ledger.note_dropped(Dropped("map-server", "bad_digest", "second", "192.0.2.1"), 20.0)
    (refusal,) = ledger.refusals()
    assert (refusal.count, refusal.detail) == (2, "second")
    assert (refusal.first_seen, refusal.last_seen) == (10.0, 20.0)


def test_refusals_are_bounded_and_the_oldest_goes() -> None:
    ledger = Ledger(max_refusals=2)
    for source in ("a", "b", "a", "c"):
        ledger.note_dropped(Dropped("x", "why", source=source), 0.0)
    assert {refusal.source for refusal in ledger.refusals()} == {"a", "c"}
    counters = {(c.name, c.labels): c.value for c in ledger.counters()}
    assert counters["dropped", (("reason", "why"), ("where", "x"))] == 4
    assert counters["ledger-forgotten", (("what", "refusal"),)] == 1


def test_events_after_an_id() -> None:
    ledger = Ledger(max_events=3)
    for number in range(5):
        ledger.note_event(Event("k", str(number)), float(number))
    assert [entry.id for entry in ledger.events(0)] == [3, 4, 5]
    assert [entry.subject for entry in ledger.events(4)] == ["4"]
    assert ledger.last_event == 5


def test_a_new_kind_of_refusal_is_an_event_and_its_repetition_is_not() -> None:
    ledger = Ledger()
    for _ in range(3):
        ledger.note_dropped(Dropped("xtr.east", "held-total", "10.0.0.1", "10.1.0.1"), 5.0)
    (entry,) = ledger.events(0)
    assert (entry.kind, entry.subject, entry.time) == ("refusal", "10.1.0.1", 5.0)
    assert entry.data == {
        "where": "xtr.east",
        "reason": "held-total",
        "detail": "10.0.0.1",
        "xtr": "east",
    }


def test_a_flood_of_refusals_leaves_room_for_other_events() -> None:
    ledger = Ledger()
    for number in range(1000):
        ledger.note_dropped(Dropped("map-server", "bad_digest", source=str(number)), 5.0)
    ledger.note_dropped(Dropped("map-server", "replayed_nonce"), 5.0)
    reasons = [entry.data["reason"] for entry in ledger.events(0)]
    assert reasons == ["bad_digest"] * REFUSAL_EVENTS + ["replayed_nonce"]
    ledger.note_dropped(Dropped("map-server", "bad_digest", source="new"), 5.0 + REFUSAL_PERIOD)
    assert ledger.last_event == REFUSAL_EVENTS + 2
