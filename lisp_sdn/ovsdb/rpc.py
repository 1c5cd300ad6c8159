"""JSON-RPC of the Open vSwitch database (RFC 7047 section 4), as far as one question needs it."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from typing import Any

DATABASE = "Open_vSwitch"
MAX_ANSWER = 16 << 20

Operation = dict[str, Any]
Row = dict[str, Any]


def transact(operations: Sequence[Operation]) -> bytes:
    """The request to carry out these operations, all or none (section 4.1.3)."""
    request = {"method": "transact", "params": [DATABASE, *operations], "id": 0}
    return json.dumps(request).encode()


def select(table: str, columns: Sequence[str], where: Sequence[object] = ()) -> Operation:
    """The operation that reads rows (section 5.2.2)."""
    return {"op": "select", "table": table, "where": list(where), "columns": list(columns)}


class Answer:
    """The octets of a connection, until the answer to the one request is there."""

    def __init__(self) -> None:
        self._text = ""
        self._read = 0
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> list[dict[str, Any]] | None:
        """The results, one for each operation; None while they are not complete.

        Messages of the server's own, such as echo, are passed over. Raises ValueError.
        """
        if not data:
            raise ValueError("the connection ended")
        self._read += len(data)
        if self._read > MAX_ANSWER:
            raise ValueError("the answer is too long")
        self._text = (self._text + self._characters.decode(data)).lstrip()
        decoder = json.JSONDecoder()
        while self._text:
            try:
                document, end = decoder.raw_decode(self._text)
            except RecursionError:
                raise ValueError("the answer is nested too deeply") from None
            except ValueError:
                return None
            self._text = self._text[end:].lstrip()
            if not isinstance(document, dict):
                raise ValueError(f"{document!r:.100}, expected an object of JSON-RPC")
            if document.get("id") == 0 and "result" in document:
                if document.get("error"):
                    raise ValueError(str(document["error"]))
                return _results(document["result"])
        return None


def _results(found: object) -> list[dict[str, Any]]:
    """Of each operation an object, or null for one that was not reached (RFC 7047 4.1.3)."""
    if not isinstance(found, list) or not all(isinstance(r, dict | None) for r in found):
        raise ValueError(f"{found!r:.100}, expected a list of results")
    return found


def refusal(results: Sequence[dict[str, Any] | None]) -> str | None:
    """Why a transaction was not carried out; None when it was."""
    for result in results:
        if result is not None and result.get("error") == "timed out":
            return "somebody else changed the database meanwhile; look again"
        if result is not None and "error" in result:
            return f"{result['error']}: {result.get('details', '')}".rstrip(": ")
    return None
