"""Evaluations of ingress policy a second: `python bench/policy.py [RULES] [EVALUATIONS]`.

Processor time, one core. One site with RULES rules (1,000) that name partners by ITR-RLOC prefix,
source EID-prefix, site and time; requesters drawn at random, so most meet other rules than the one
before. The yardstick is the plain walk over the same rules that the definition asks for, measured
in the same run.
"""

from __future__ import annotations

import ipaddress
import random
import sys
import time
from collections.abc import Callable

from _common import heading, row

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Locator, Mapping, Requester
from lisp_sdn.policy import PolicyEngine, Sites, affected
from lisp_sdn.policy.match import Asked, reasons
from lisp_sdn.policy_settings import PolicyRule, SitePolicy

RLOCS = [ipaddress.ip_address(f"203.0.113.{n}") for n in range(1, 5)]
NOW = 1_700_000_000.0


POOR = PolicyRule.model_validate({"name": "other", "action": {"ttl_minutes": 1}})


def rules(count: int, rng: random.Random) -> tuple[PolicyRule, ...]:
    made = []
    for number in range(count):
        match: dict[str, object] = {}
        kind = number % 4
        block = number // 4
        if kind == 0:
            match["itr_rlocs"] = [f"100.{block // 256}.{block % 256}.0/24"]
        elif kind == 1:
            match["source_eids"] = [f"10.{128 + block // 256}.{block % 256}.0/24"]
        elif kind == 2:
            match["sites"] = [f"site{block}"]
            match["pitr"] = False
        else:
            match["itr_rlocs"] = [f"101.{block // 256}.{block % 256}.0/24"]
            match["time"] = [{"from": "08:00", "to": "18:00", "zone": "Europe/Athens"}]
        rloc = str(rng.choice(RLOCS))
        action = rng.choice(
            [{"prefer": [rloc]}, {"locators": [{"rloc": rloc, "weight": 10}]}, {"hide": [rloc]}]
        )
        rule = {"name": f"rule{number}", "match": match, "action": action}
        made.append(PolicyRule.model_validate(rule))
    return tuple(made)


def requesters(count: int, most: int, rng: random.Random) -> list[Requester]:
    made = []
    for _ in range(count):
        net = rng.choice([100, 101, 102, 198])
        block = rng.randrange(max(1, most // 4))
        rloc = ipaddress.ip_address(f"{net}.{block // 256}.{block % 256}.{rng.randrange(1, 255)}")
        source = f"10.{128 + rng.randrange(2)}.{rng.randrange(256)}.{rng.randrange(256)}/32"
        made.append(Requester((rloc,), EidPrefix.from_text(source), pitr=rng.random() < 0.1))
    return made


def rate(work: Callable[[], int]) -> float:
    start = time.process_time()
    done = work()
    return done / (time.process_time() - start)


def main(count: int = 1000, evaluations: int = 200_000) -> None:
    rng = random.Random(1)
    home = EidPrefix.from_text("10.0.0.0/12")
    table = {
        ipaddress.ip_network(f"102.{n // 256}.{n % 256}.0/24"): f"site{n}"
        for n in range(count // 4)
    }
    sites = Sites({home: "home"}, table)
    policy = SitePolicy(site="home", rules=rules(count, rng))
    started = time.process_time()
    engine = PolicyEngine((policy,), sites)
    compiled = time.process_time() - started
    mappings = [
        Mapping(EidPrefix.from_text(f"10.0.{n}.0/24")).with_locators(
            tuple(Locator(rloc) for rloc in RLOCS)
        )
        for n in range(100)
    ]
    asking = requesters(5000, count, rng)
    pairs = [(rng.choice(mappings), rng.choice(asking)) for _ in range(20_000)]

    def through_engine() -> int:
        evaluate = engine.evaluate
        for turn in range(evaluations // len(pairs)):
            for mapping, requester in pairs:
                evaluate(mapping, requester, NOW + turn)
        return evaluations // len(pairs) * len(pairs)

    def cold() -> int:
        evaluate = engine.evaluate
        fresh = [
            (Mapping(mapping.eid, mapping.locators), requester)
            for mapping, requester in pairs[:4000]
        ]
        for mapping, requester in fresh:
            evaluate(mapping, requester, NOW)
        return len(fresh)

    def walk() -> int:
        for mapping, requester in pairs[:50]:
            asked = Asked(mapping.eid, requester, NOW, sites, engine.conditions, engine.latched)
            for rule in policy.rules:
                if all(reason.holds for reason in reasons(rule.match, asked)):
                    break
        return 50

    first = rate(cold)
    rate(through_engine)
    warm = rate(through_engine)
    plain = rate(walk)
    heading(f"ingress policy, {count} rules")
    yardstick = f"walk over the rules {plain:,.0f}/s"
    row("evaluate, mapping seen before (aim 50,000/s)", f"{warm:,.0f}/s", yardstick, warm / plain)
    row("evaluate, every mapping new", f"{first:,.0f}/s", yardstick, first / plain)
    row("compile the policy", f"{compiled * 1000:.1f} ms")
    changed = policy.model_copy(update={"rules": (*policy.rules[:-1], POOR)})
    candidate = engine.copy()
    candidate.set_policies((changed,))
    spent = time.process_time()
    found = sum(1 for _ in affected(engine, candidate, mappings, NOW))
    spent = time.process_time() - spent
    row(f"who is affected by one rule, {len(mappings)} mappings", f"{spent * 1000:.0f} ms")
    assert found == len(mappings)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
