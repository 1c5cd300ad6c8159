"""A Map-Server with one or two sites, and the ETRs and ITRs that talk to it."""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass, field
from typing import Any

from lisp_sdn.actions import Action, Dropped, Event, MappingChanged, SendControl
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.config import Config
from lisp_sdn.mapping.store import MemoryStore, Store
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.model import AnswerPolicy, Locator, RegisteredPolicy
from lisp_sdn.wire import (
    Ecm,
    EidRecord,
    MapNotify,
    MapRegister,
    MapReply,
    MapRequest,
    Message,
    RequestRecord,
    auth,
    decode,
)

KEY = b"lisp-test-psk-01"
NOW = 1_000_000.0
MS = ipaddress.ip_address("192.0.2.53")
ITR = "192.0.2.1"
ETR = "203.0.113.1"
ETR2 = "203.0.113.2"


def eid(text: str) -> EidPrefix:
    return EidPrefix.from_text(text)


def endpoint(address: str, port: int = 4342) -> Endpoint:
    return Endpoint(ipaddress.ip_address(address), port)


def site(name: str = "one", **more: Any) -> dict[str, Any]:
    prefixes = more.pop("prefixes", ["10.1.0.0/16"])
    return {
        "name": name,
        "authentication_keys": more.pop("keys", [{"key_id": 1, "key": KEY.decode()}]),
        "eid_prefixes": [
            entry if isinstance(entry, dict) else {"prefix": entry, "accept_more_specifics": True}
            for entry in prefixes
        ],
        **more,
    }


def config(*sites: dict[str, Any], **more: Any) -> Config:
    return Config.model_validate({"sites": list(sites) or [site()], **more})


def system(
    *sites: dict[str, Any],
    store: Store | None = None,
    policy: AnswerPolicy | None = None,
    sources: Any = (),
    **more: Any,
) -> MapSystem:
    made = MapSystem(
        config(*sites, **more),
        store=store or MemoryStore(),
        policy=policy or RegisteredPolicy(),
        rng=random.Random(7),
        sources=sources,
    )
    made.start(NOW)
    return made


def locators(*texts: str) -> tuple[Locator, ...]:
    return tuple(Locator(ipaddress.ip_address(text)) for text in texts)


def record(text: str, *rlocs: str, ttl: int = 1440, version: int = 0) -> EidRecord:
    return EidRecord(eid(text), locators(*rlocs), ttl, map_version=version)


@dataclass
class Etr:
    """Signs Map-Registers with rising nonces."""

    address: str = ETR
    key_id: int = 1
    key: bytes = KEY
    algorithm: int = 3
    nonce: int = 100
    flags: dict[str, Any] = field(default_factory=lambda: {"proxy_reply": True})
    scope: auth.MacScope = auth.MacScope.RECORDS

    def register(self, *records: EidRecord, **flags: Any) -> bytes:
        self.nonce += 1
        message = MapRegister(self.nonce, records, **{**self.flags, **flags})
        return auth.sign(message, self.key_id, self.key, self.algorithm, scope=self.scope)

    @property
    def source(self) -> Endpoint:
        return endpoint(self.address, 4342)


def request(
    text: str,
    *,
    nonce: int = 1,
    itr: tuple[Any, ...] = (ITR,),
    source_eid: str | None = None,
    **flags: Any,
) -> MapRequest:
    rlocs = tuple(ipaddress.ip_address(r) if isinstance(r, str) else r for r in itr)
    key = eid(text) if isinstance(text, str) else text
    source = eid(source_eid) if source_eid else None
    records = flags.pop("records", (RequestRecord(key),))
    return MapRequest(nonce, source, rlocs, records, **flags)


def ecm(message: MapRequest, port: int = 61001, **more: Any) -> bytes:
    key = message.records[0].eid
    network = (key if isinstance(key, EidPrefix) else key.destination).network
    source = "192.0.2.1" if network.version == 4 else "2001:db8:ffff::1"
    return Ecm(
        endpoint(source, port),
        Endpoint(network.network_address, 4342),
        message.serialize(),
        **more,
    ).serialize()


def sent(actions: list[Action]) -> list[tuple[Message, Endpoint]]:
    return [(decode(a.data), a.destination) for a in actions if isinstance(a, SendControl)]


def replies(actions: list[Action]) -> list[MapReply]:
    return [message for message, _ in sent(actions) if isinstance(message, MapReply)]


def notifies(actions: list[Action]) -> list[MapNotify]:
    return [message for message, _ in sent(actions) if type(message) is MapNotify]


def dropped(actions: list[Action]) -> list[str]:
    return [action.reason for action in actions if isinstance(action, Dropped)]


def events(actions: list[Action]) -> list[str]:
    return [action.kind for action in actions if isinstance(action, Event)]


def changed(actions: list[Action]) -> list[EidPrefix]:
    return [action.eid for action in actions if isinstance(action, MappingChanged)]


def ask(ms: MapSystem, text: str, now: float = NOW, **more: Any) -> MapReply:
    """The one Map-Reply to an ECM Map-Request."""
    actions = ms.receive(ecm(request(text, **more)), endpoint(ITR, 50000), now)
    (reply,) = replies(actions)
    return reply


def answers(reply: MapReply) -> list[tuple[str, list[str]]]:
    return [(str(r.eid), [str(x.rloc) for x in r.locators]) for r in reply.records]
