"""A database of Open vSwitch in memory: as much of RFC 7047 as plans use."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from lisp_sdn.ovsdb import snapshot
from lisp_sdn.ovsdb.rpc import Operation
from lisp_sdn.ovsdb.snapshot import Snapshot

EMPTY: dict[str, dict[str, Any]] = {
    "Bridge": {
        "name": "",
        "ports": ["set", []],
        "controller": ["set", []],
        "datapath_type": "",
        "fail_mode": ["set", []],
        "protocols": ["set", []],
        "other_config": ["map", []],
    },
    "Port": {"name": "", "interfaces": ["set", []]},
    "Interface": {
        "name": "",
        "type": "",
        "options": ["map", []],
        "error": ["set", []],
        "mtu": ["set", []],
        "mtu_request": ["set", []],
    },
    "Controller": {
        "target": "",
        "connection_mode": ["set", []],
        "max_backoff": ["set", []],
        "is_connected": False,
    },
}


class TimedOut(Exception):
    """A `wait` found something else than it waits for."""


class FakeDatabase:
    """tables: by name, then by uuid. transactions: how many changed something."""

    def __init__(self) -> None:
        self._uuids = (f"uuid-{number}" for number in itertools.count())
        self.tables: dict[str, dict[str, dict[str, Any]]] = {
            table: {} for table in ("Open_vSwitch", *EMPTY)
        }
        system = {"next_cfg": 0, "cur_cfg": 0, "bridges": ["set", []]}
        self.tables["Open_vSwitch"][next(self._uuids)] = system
        self.transactions = 0

    def snapshot(self) -> Snapshot:
        return snapshot.read([self._select(question) for question in snapshot.questions()])

    def _select(self, question: Operation) -> dict[str, Any]:
        rows = []
        for uuid, row in self.tables[question["table"]].items():
            full = {**row, "_uuid": ["uuid", uuid]}
            rows.append({column: copy.deepcopy(full[column]) for column in question["columns"]})
        return {"rows": rows}

    def transact(self, operations: list[Operation]) -> None:
        named = {op["uuid-name"]: next(self._uuids) for op in operations if op["op"] == "insert"}
        for op in operations:
            table = self.tables[op["table"]]
            if op["op"] == "insert":
                unknown = op["row"].keys() - EMPTY[op["table"]].keys()
                assert not unknown
                row = {**copy.deepcopy(EMPTY[op["table"]]), **op["row"]}
                table[named[op["uuid-name"]]] = _resolve(row, named)
                continue
            ((column, function, value),) = op["where"]
            assert (column, function) == ("_uuid", "==")
            found = table[_resolve(value, named)[1]]
            if op["op"] == "wait":
                assert (op["timeout"], op["until"]) == (0, "==")
                if {name: found[name] for name in op["columns"]} not in op["rows"]:
                    raise TimedOut
            elif op["op"] == "update":
                assert op["row"].keys() <= found.keys()
                found.update(_resolve(op["row"], named))
            else:
                for name, mutator, argument in op["mutations"]:
                    found[name] = _mutate(found[name], mutator, _resolve(argument, named))
        self._collect()
        self.transactions += 1

    def _collect(self) -> None:
        """Rows that nothing refers to vanish; every port is in one bridge at most."""
        bridges = _uuids(next(iter(self.tables["Open_vSwitch"].values()))["bridges"])
        self._keep("Bridge", bridges)
        ports = [u for row in self.tables["Bridge"].values() for u in _uuids(row["ports"])]
        assert len(ports) == len(set(ports)), "a port in two bridges"
        self._keep("Port", ports)
        for table, parent, column in (
            ("Interface", "Port", "interfaces"),
            ("Controller", "Bridge", "controller"),
        ):
            used = [u for row in self.tables[parent].values() for u in _uuids(row[column])]
            self._keep(table, used)
        for table in ("Bridge", "Port", "Interface"):
            names = [row["name"] for row in self.tables[table].values()]
            assert len(names) == len(set(names)), f"two rows of {table} with one name"

    def _keep(self, table: str, used: list[str]) -> None:
        assert set(used) <= self.tables[table].keys()
        self.tables[table] = {u: row for u, row in self.tables[table].items() if u in used}


def _resolve(value: Any, named: dict[str, str]) -> Any:
    if isinstance(value, list) and len(value) == 2 and value[0] == "named-uuid":
        return ["uuid", named[value[1]]]
    if isinstance(value, list):
        return [_resolve(item, named) for item in value]
    if isinstance(value, dict):
        return {key: _resolve(item, named) for key, item in value.items()}
    return value


def _uuids(value: Any) -> list[str]:
    items = value[1] if value[0] == "set" else [value]
    return [item[1] for item in items]


def _mutate(value: Any, mutator: str, argument: Any) -> Any:
    if mutator == "+=":
        return value + argument
    items = value[1] if value[0] == "set" else [value]
    rest = [item for item in items if item not in argument[1]]
    return ["set", [*rest, *argument[1]] if mutator == "insert" else rest]
