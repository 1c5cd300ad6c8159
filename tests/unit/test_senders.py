"""Which RLOC may send for which source EID: a function of database, configuration and policy."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest
import yaml

from lisp_sdn.address import EidPrefix
from lisp_sdn.config import load
from lisp_sdn.controller import Controller
from lisp_sdn.mapping.store import MemoryStore
from lisp_sdn.model import Locator, Mapping
from lisp_sdn.xtr.requests import Verify
from lisp_sdn.xtr.verdicts import SourceVerdict

CONFIG = """
sites:
  - name: a
    authentication_keys: [{key: secret-a}]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 7, accept_more_specifics: true}]
xtrs:
  - name: xa
    site: a
    datapath_id: 0xa
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports: [{name: p1, iid: 7, gateways: [10.1.0.254/24]}]
  - name: gate
    datapath_id: 0xb
    rlocs: [{rloc: 192.0.2.2}]
    native_ports:
      - {iid: 7, proxy_itr: {eid_prefixes: [10.0.0.0/8]}}
bgp:
  as_number: 64512
  router_id: 192.0.2.1
  neighbours: [{address: 192.0.2.254, as_number: 65001, scope: underlay}]
source_guard: {mode: enforce, proxy_itrs: [198.51.100.7]}
"""


def controller(**more: Any) -> Controller:
    document = {**yaml.safe_load(CONFIG), **more}
    made = Controller(load(yaml.safe_dump(document)), store=MemoryStore(), rng=random.Random(1))
    made.start(0.0)
    return made


def judged(made: Controller, source: str, rloc: str) -> tuple[str, str | None]:
    asked = Verify("xa", EidPrefix.from_text(source), ip_address(rloc))
    verdict = made.senders.judge(asked)
    assert isinstance(verdict, SourceVerdict)
    assert verdict.eid.covers(asked.eid)
    return str(verdict.eid), None if verdict.reason is None else str(verdict.reason)


def static(made: Controller, eid: str, *rlocs: str) -> None:
    locators = tuple(Locator(ip_address(rloc), 255) for rloc in rlocs)
    made.management.set_mapping(Mapping(EidPrefix.from_text(eid)).with_locators(locators), 1.0)


@pytest.mark.parametrize(
    ("source", "rloc", "scope", "reason"),
    [
        ("[7] 10.1.2.3/32", "192.0.2.1", "[7] 10.1.0.0/16", None),
        ("[7] 10.1.2.3/32", "192.0.2.2", "[7] 10.1.0.0/16", "source-rloc-mismatch"),
        # An EID is one of its instance-ID only.
        ("[8] 10.1.2.3/32", "192.0.2.1", "[8] 0.0.0.0/0", "source-eid-unknown"),
        # What is no EID: Proxy-ITRs of others everywhere, our own in their instance-ID.
        ("[7] 172.16.0.1/32", "198.51.100.7", "[7] 128.0.0.0/1", None),
        ("[7] 172.16.0.1/32", "192.0.2.2", "[7] 128.0.0.0/1", None),
        ("[8] 172.16.0.1/32", "192.0.2.2", "[8] 0.0.0.0/0", "source-eid-unknown"),
        ("[7] 172.16.0.1/32", "192.0.2.1", "[7] 128.0.0.0/1", "source-eid-unknown"),
        # They do not speak for EIDs.
        ("[7] 10.1.2.3/32", "198.51.100.7", "[7] 10.1.0.0/16", "source-rloc-mismatch"),
    ],
)
def test_registered_rlocs_and_proxy_itrs(
    source: str, rloc: str, scope: str, reason: str | None
) -> None:
    assert judged(controller(), source, rloc) == (scope, reason)


def test_a_prefix_with_more_specifics_inside_is_not_judged_as_one() -> None:
    made = controller()
    static(made, "[7] 10.1.9.0/24", "192.0.2.9")
    asked = Verify("xa", EidPrefix.from_text("[7] 10.1.0.0/16"), ip_address("192.0.2.1"))
    verdict = made.senders.judge(asked)
    assert verdict is not None
    assert not verdict.eid.covers(asked.eid)
    assert judged(made, "[7] 10.1.9.1/32", "192.0.2.9") == ("[7] 10.1.9.0/24", None)
    # An RLOC of the site's own xTR may send for all of the site.
    assert judged(made, "[7] 10.1.9.1/32", "192.0.2.1") == ("[7] 10.1.9.0/24", None)


def test_rlocs_that_a_policy_may_name_and_does() -> None:
    rule = {"name": "scrub", "action": {"pin": ["203.0.113.5"]}}
    for allowed, reason in ((True, None), (False, "source-rloc-mismatch")):
        text = [{"site": "a", "allow_unregistered_rlocs": allowed, "rules": [rule]}]
        document = yaml.safe_load(CONFIG)["sites"]
        if not allowed:
            document[0]["allowed_rlocs"] = ["192.0.2.0/24", "203.0.113.0/24"]
        made = controller(policies=text, sites=document)
        assert judged(made, "[7] 10.1.2.3/32", "203.0.113.5")[1] == reason


def test_an_xtr_that_hosts_may_leave_sends_for_all_of_its_instance_id() -> None:
    document = yaml.safe_load(CONFIG)["xtrs"]
    document[0]["eid_ports"][0]["allow_mobility"] = True
    made = controller(xtrs=document)
    static(made, "[7] 10.44.0.0/16", "192.0.2.9")
    assert judged(made, "[7] 10.44.0.1/32", "192.0.2.1")[1] is None
    assert judged(made, "[7] 10.44.0.1/32", "192.0.2.2")[1] == "source-rloc-mismatch"


def test_configured_and_not_registered() -> None:
    sites = yaml.safe_load(CONFIG)["sites"]
    sites[0]["shutdown"] = True
    made = controller(sites=sites)
    found = judged(made, "[7] 10.1.2.3/32", "192.0.2.1")
    assert found == ("[7] 10.1.0.0/16", "source-eid-not-registered")
