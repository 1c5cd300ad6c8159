"""JSON-RPC of the Open vSwitch database (RFC 7047 section 4), as far as one question needs it."""

from __future__ import annotations

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

    def feed(self, data: bytes) -> list[dict[str, Any]] | None:
        """The results, one for each operation; None while they are not complete.

        Messages of the server's own, such as echo, are passed over. Raises ValueError.
        """
        if not data:
            raise ValueError("the connection ended")
        self._read += len(data)
        if self._read > MAX_ANSWER:
            raise ValueError("the answer is too long")
        self._text += data.decode("utf-8", "replace")
        decoder = json.JSONDecoder()
        while self._text:
            try:
                document, end = decoder.raw_decode(self._text)
            except ValueError:
                return None
            self._text = self._text[end:].lstrip()
            if document.get("id") == 0 and "result" in document:
                if document.get("error"):
                    raise ValueError(str(document["error"]))
                return list(document["result"])
        return None


def refusal(results: Sequence[dict[str, Any] | None]) -> str | None:
    """Why a transaction was not carried out; None when it was."""
    for result in results:
        if result is not None and "error" in result:
            return f"{result['error']}: {result.get('details', '')}".rstrip(": ")
    return None
