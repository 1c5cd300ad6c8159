"""Answers of a database: whole or in pieces, and what is none."""

from __future__ import annotations

import json

import pytest

from lisp_sdn.ovsdb import rpc


def test_an_answer_in_any_pieces() -> None:
    result = [{"rows": [{"name": "größe"}]}, None]
    document = json.dumps({"id": 0, "error": None, "result": result}, ensure_ascii=False)
    data = b'{"method": "echo", "params": [], "id": "echo"}\n' + document.encode()
    answer = rpc.Answer()
    for octet in data[:-1]:
        assert answer.feed(bytes((octet,))) is None
    assert answer.feed(data[-1:]) == result


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the connection ended"),
        (b"[1, 2]", "expected an object"),
        (b"7 ", "expected an object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"id": 0, "result": null, "error": "no"}', "no"),
        (b'{"id": 0, "result": null, "error": null}', "expected a list of results"),
        (b'{"id": 0, "result": 5}', "expected a list of results"),
        (b'{"id": 0, "result": [1]}', "expected a list of results"),
    ],
)
def test_what_is_no_answer(data: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        rpc.Answer().feed(data)
