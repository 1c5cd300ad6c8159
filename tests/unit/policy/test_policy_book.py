"""Versions: apply with an entity tag, history, rollback, restart."""

from __future__ import annotations

import json

import pytest

from lisp_sdn.config import Config, load
from lisp_sdn.errors import FieldError, InvalidPolicy, StalePolicy, StoreError
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.policy import PolicyBook, RuleChange
from lisp_sdn.policy import book as book_module

SITES = """
sites:
  - {name: athens, authentication_keys: [{key: k}], eid_prefixes: [{prefix: 10.1.0.0/16}],
     allowed_rlocs: [203.0.113.0/24]}
  - {name: sparta, authentication_keys: [{key: k}], eid_prefixes: [{prefix: 10.2.0.0/16}]}
"""
FILE = SITES + "policies: [{site: athens, rules: [{name: base, action: {pin: [203.0.113.1]}}]}]"
SECOND = "[{site: sparta, rules: [{name: closed, action: {deny: true}}]}]"
THIRD = "[{site: athens, rules: [{name: base, action: {pin: [203.0.113.2]}}]}]"


def started(store: MemoryStore | None = None, text: str = FILE) -> PolicyBook:
    book = PolicyBook(load(text), store)
    book.start(1.0)
    return book


def apply(book: PolicyBook, text: str, **more: object) -> None:
    given = {"if_match": book.etag, "who": "maria", "why": "test", "now": 2.0, **more}
    book.apply(book.parse(text), **given)  # type: ignore[arg-type]


def test_the_first_version_is_the_configuration() -> None:
    book = started()
    assert book.version == 1
    assert book.policies == load(FILE).policies
    [entry] = book.history()
    assert (entry.what, entry.changes) == (
        "configuration",
        (RuleChange("athens", "base", "added"),),
    )


def test_apply_replaces_the_named_sites_only() -> None:
    book = started()
    apply(book, SECOND)
    assert [policy.site for policy in book.policies] == ["athens", "sparta"]
    apply(book, "[{site: athens}]")
    assert [policy.site for policy in book.policies] == ["sparta"]
    assert [change.kind for change in book.history()[0].changes] == ["removed"]


def test_two_operators_do_not_overwrite_each_other() -> None:
    book = started()
    seen = book.etag
    apply(book, SECOND, if_match=seen)
    with pytest.raises(StalePolicy) as caught:
        apply(book, THIRD, if_match=seen)
    assert (caught.value.given, caught.value.current) == (seen, book.etag)
    assert book.version == 2
    apply(book, THIRD, if_match="*")
    assert book.version == 3


def test_an_invalid_policy_changes_nothing() -> None:
    store = MemoryStore()
    book = started(store)
    before = (book.etag, book.version, len(store.journal_list()))
    with pytest.raises(InvalidPolicy):
        apply(book, "[{site: athens, rules: [{name: x, action: {pin: [198.51.100.1]}}]}]")
    with pytest.raises(FieldError, match="why"):
        apply(book, SECOND, why=" ")
    with pytest.raises(FieldError, match="who"):
        apply(book, SECOND, who="")
    assert (book.etag, book.version, len(store.journal_list())) == before


def test_a_store_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    book = started(store)

    def full(*_: object, **__: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(store, "document_put", full)
    with pytest.raises(StoreError):
        apply(book, SECOND)
    assert book.version == 1
    assert [policy.site for policy in book.policies] == ["athens"]


def test_history_says_who_when_what_and_why() -> None:
    store = MemoryStore()
    book = started(store)
    apply(book, THIRD, who="maria", why="link 1 is being repaired", now=99.0)
    newest = book.history()[0].to_dict()
    assert newest == {
        "version": 2,
        "at": 99.0,
        "who": "maria",
        "what": "apply",
        "why": "link 1 is being repaired",
        "etag": book.etag,
        "changes": [{"site": "athens", "rule": "base", "kind": "changed"}],
    }
    journal = store.journal_list()[0]
    assert (journal.time, journal.who, journal.what, journal.why) == (
        99.0,
        "maria",
        "policy: apply",
        "link 1 is being repaired",
    )
    assert json.loads(journal.body)["etag"] == book.etag
    assert book.history()[0].to_dict(full=True)["policies"][0]["site"] == "athens"


def test_rollback_is_a_new_version_with_all_of_the_old_policies() -> None:
    book = started()
    first = book.etag
    apply(book, SECOND)
    apply(book, THIRD)
    entry = book.rollback(1, who="nikos", why="traffic went wrong", now=5.0)
    assert (entry.version, entry.what, book.etag) == (4, "rollback to 1", first)
    assert {(c.site, c.rule, c.kind) for c in entry.changes} == {
        ("athens", "base", "changed"),
        ("sparta", "closed", "removed"),
    }
    with pytest.raises(FieldError, match=r"1\.\.4"):
        book.rollback(9, who="nikos", why="x", now=6.0)
    with pytest.raises(StalePolicy):
        book.rollback(2, who="nikos", why="x", now=6.0, if_match='"old"')


def test_a_restart_keeps_what_was_applied() -> None:
    store = MemoryStore()
    book = started(store)
    apply(book, THIRD)
    again = started(store)
    assert (again.etag, again.version) == (book.etag, 2)
    assert again.history() == book.history()


def test_an_edited_file_wins_over_what_was_applied_before() -> None:
    store = MemoryStore()
    apply(started(store), SECOND)
    edited = FILE.replace("203.0.113.1]", "203.0.113.9]")
    book = started(store, edited)
    assert book.policies == load(edited).policies
    assert (book.version, book.history()[0].why) == (3, "the policies of the file have changed")
    assert started(store, edited).version == 3


def test_an_unreadable_version_is_left_out_and_named() -> None:
    store = MemoryStore()
    started(store)
    store.document_put("policy", "00000002", '{"version": 2}', 5.0)
    book = started(store)
    assert book.version == 1
    assert "policy version 00000002" in book.unreadable[0]


def test_the_oldest_versions_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "MAX_VERSIONS", 3)
    store = MemoryStore()
    book = started(store)
    for turn in range(5):
        apply(book, THIRD if turn % 2 else SECOND)
    assert [entry.version for entry in book.history()] == [6, 5, 4]
    assert len(store.document_list("policy")) == 3
    assert started(store).version == 6


def test_without_policies_in_the_file() -> None:
    config: Config = load(SITES)
    book = PolicyBook(config)
    assert book.policies == ()
    assert book.start(1.0) == ()
    assert book.merged(book.parse(SECOND))[0].site == "sparta"
    assert book.version == 1
