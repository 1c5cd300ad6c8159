"""The controller's fast path: the same answers as `receive`, and none that is outdated."""

from __future__ import annotations

import ipaddress
import random

from lisp_sdn.actions import SendControl
from lisp_sdn.address import EidPrefix, Endpoint
from lisp_sdn.config import Config
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.wire import Ecm, MapRequest, RequestRecord

NOW = 1_700_000_000.0
SENDER = Endpoint(ipaddress.ip_address("192.0.2.200"), 50000)
CONFIG = {
    "sites": [
        {
            "name": "athens",
            "authentication_keys": [{"key": "a-test-key"}],
            "eid_prefixes": [{"prefix": "10.1.0.0/16", "accept_more_specifics": True}],
        }
    ],
    "mappings": [{"eid_prefix": "10.1.2.0/24", "locators": [{"rloc": "203.0.113.1"}]}],
    "xtrs": [
        {
            "name": "athens-1",
            "site": "athens",
            "datapath_id": 1,
            "rlocs": [{"rloc": "192.0.2.1"}],
        }
    ],
    "limits": {"map_replies_per_eid": 100},
}


def controller() -> Controller:
    made = Controller(Config.model_validate(CONFIG), store=MemoryStore(), rng=random.Random(1))
    made.start(NOW)
    return made


def question(eid: str, rloc: str) -> bytes:
    itr = ipaddress.ip_address(rloc)
    request = MapRequest(9, None, (itr,), (RequestRecord(EidPrefix.from_text(eid)),))
    target = Endpoint(ipaddress.ip_address(eid), 4342)
    return Ecm(Endpoint(itr, 61000), target, request.serialize()).serialize()


def test_the_second_answer_is_ready_and_like_the_first() -> None:
    brain = controller()
    data = question("10.1.2.3", "192.0.2.99")
    assert brain.quick(data, 4, NOW) is None
    (sent,) = [a for a in brain.receive(data, SENDER, NOW) if isinstance(a, SendControl)]
    assert brain.quick(data, 4, NOW) == (sent.data, sent.destination.address.packed, 61000)


def test_a_changed_mapping_is_not_answered_from_what_was_learned() -> None:
    brain = controller()
    data = question("10.1.2.3", "192.0.2.99")
    brain.receive(data, SENDER, NOW)
    eid = EidPrefix.from_text("10.1.2.0/24")
    changed = Mapping(eid, (Locator(ipaddress.ip_address("203.0.113.9")),))
    brain.settle(brain.mapping.set_static(changed, NOW), NOW)
    assert brain.quick(data, 4, NOW) is None


def test_answers_to_our_own_rlocs_stay_inside() -> None:
    brain = controller()
    data = question("10.1.2.3", "192.0.2.1")
    for _ in range(2):
        brain.receive(data, SENDER, NOW)
        assert brain.quick(data, 4, NOW) is None
