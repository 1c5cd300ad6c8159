"""Small worlds in which every kind of condition collides often."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from hypothesis import strategies as st

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Answer, Locator, Mapping, Requester
from lisp_sdn.policy import Conditions, KnownXtr, PolicyEngine, RlocLoad, Sites
from lisp_sdn.policy.match import Asked, reasons
from lisp_sdn.policy.rlocset import act
from lisp_sdn.policy_settings import Action, Match, PolicyRule, SitePolicy

RLOCS = [ipaddress.ip_address(f"203.0.113.{n}") for n in (1, 2, 3)]
ITR_RLOCS = [ipaddress.ip_address(f"192.0.2.{n}") for n in (1, 65, 129, 193)]
ITR_NETWORKS = ["192.0.2.0/24", "192.0.2.0/25", "192.0.2.64/26", "192.0.2.1/32", "0.0.0.0/0"]
SOURCE_BLOCK = ipaddress.ip_network("10.9.0.0/28")
SOURCE_NETWORKS = [
    str(subnet)
    for length in (28, 29, 30, 31, 32)
    for subnet in SOURCE_BLOCK.subnets(new_prefix=length)
]
EIDS = [EidPrefix.from_text(text) for text in ("10.1.0.0/24", "10.1.0.0/26", "[7] 10.1.0.0/24")]
XTR_IDS = [1, 2]
WINDOWS = [
    {"from": "08:00", "to": "18:00"},
    {"days": ["mon", "fri"], "from": "22:00", "to": "06:00", "zone": "Europe/Athens"},
]
MONDAY = 1_700_438_400.0  # 2023-11-20 00:00 UTC
SITES = Sites(
    {EidPrefix.from_text("10.1.0.0/16"): "home", EidPrefix.from_text("[7] 10.1.0.0/16"): "home"},
    {ipaddress.ip_network("192.0.2.0/26"): "partner", ipaddress.ip_network("192.0.2.193"): "far"},
    (
        KnownXtr("x1", "partner", (ITR_RLOCS[3], ITR_RLOCS[2])),
        KnownXtr("x2", None, (ITR_RLOCS[0],)),
    ),
)
OTHER_SITES = Sites(
    SITES.eids,
    {ipaddress.ip_network("192.0.2.64/26"): "partner"},
    (replace(SITES.xtrs[0], site="far"),),
)


def some(values: list[object], size: int = 2) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=size, unique_by=str).map(tuple)


def maybe(strategy: st.SearchStrategy[object], odds: int = 4) -> st.SearchStrategy[object]:
    return st.integers(0, odds - 1).flatmap(lambda n: strategy if n == 0 else st.none())


LOADS = [
    {"rloc": str(RLOCS[0]), "share_above": 0.5},
    {"rloc": str(RLOCS[1]), "rate_below": 1000, "until": 2000},
]

matches = st.fixed_dictionaries(
    {
        "eid_prefixes": maybe(
            some(["10.1.0.0/24", "10.1.0.0/26", "10.1.0.64/26", "[7] 10.0.0.0/8"])
        ),
        "iids": maybe(some([0, 7], 1), 6),
        "itr_rlocs": maybe(some(ITR_NETWORKS), 3),
        "sites": maybe(some(["partner", "far"])),
        "source_eids": maybe(some(SOURCE_NETWORKS, 3), 2),
        "xtr_ids": maybe(some(XTR_IDS), 6),
        "authenticated": maybe(st.booleans(), 8),
        "pitr": maybe(st.booleans(), 6),
        "time": maybe(some(WINDOWS), 6),
        "rlocs_up": maybe(some(RLOCS, 1), 8),
        "rlocs_down": maybe(some(RLOCS, 1), 8),
        "load": maybe(some(LOADS, 1), 8),
    }
).map(lambda given: {key: value for key, value in given.items() if value is not None})

actions = st.one_of(
    st.just({"deny": True}),
    st.just({"deny": "temporarily"}),
    st.sampled_from(RLOCS).map(lambda rloc: {"pin": [rloc]}),
    st.sampled_from(RLOCS).map(lambda rloc: {"hide": [rloc]}),
    st.sampled_from(RLOCS).map(lambda rloc: {"prefer": [rloc]}),
    st.sampled_from(RLOCS).map(lambda rloc: {"drain": [rloc]}),
    st.integers(1, 3).map(lambda minutes: {"ttl_minutes": minutes}),
    st.just({}),
    st.tuples(st.sampled_from(RLOCS), st.integers(0, 255)).map(
        lambda pair: {"locators": [{"rloc": pair[0], "weight": pair[1]}]}
    ),
)


@st.composite
def policies(draw: st.DrawFn, most: int = 6) -> SitePolicy:
    count = draw(st.integers(0, most))
    rules = tuple(
        PolicyRule(
            name=f"r{i}",
            match=Match.model_validate(draw(_valid_matches)),
            action=Action.model_validate(draw(actions)),
        )
        for i in range(count)
    )
    return SitePolicy(site="home", rules=rules, allow_unregistered_rlocs=draw(st.booleans()))


_valid_matches = matches.filter(
    lambda given: not set(given.get("rlocs_up", ())) & set(given.get("rlocs_down", ()))
)

mappings = st.builds(
    lambda eid, rlocs: Mapping(eid).with_locators(tuple(Locator(rloc) for rloc in rlocs)),
    st.sampled_from(EIDS),
    st.lists(st.sampled_from(RLOCS), max_size=3, unique=True),
)

sources = st.one_of(
    st.none(),
    st.integers(0, 15).map(lambda n: EidPrefix.host(0, SOURCE_BLOCK[n])),
    st.integers(0, 15).map(lambda n: EidPrefix.host(7, SOURCE_BLOCK[n])),
    st.just(EidPrefix.from_text("10.200.0.1/32")),
    st.just(EidPrefix.from_text("2001:db8::1/128")),
)


def _as_known(requester: Requester) -> Requester:
    """An xTR of ours asks with RLOCs of its own."""
    own = {xtr.name: xtr.rlocs for xtr in SITES.xtrs}
    if requester.xtr is None:
        return requester
    rlocs = own[requester.xtr]
    return replace(requester, itr_rlocs=rlocs[: len(requester.itr_rlocs) or 1])


requesters = st.builds(
    Requester,
    itr_rlocs=st.lists(st.sampled_from(ITR_RLOCS), max_size=2, unique=True).map(tuple),
    source_eid=sources,
    xtr_id=st.sampled_from([None, 1, 2, 3]),
    pitr=st.booleans(),
    xtr=st.sampled_from([None, None, "x1", "x2"]),
    authenticated=st.booleans(),
).map(_as_known)

conditions = st.builds(
    lambda up, shares: Conditions(
        up=up, load={RLOCS[n]: RlocLoad(share * 3000, share) for n, share in enumerate(shares)}
    ),
    st.dictionaries(st.sampled_from(RLOCS), st.booleans()),
    st.lists(st.sampled_from([0.1, 0.47, 0.6]), max_size=2),
)

times = st.integers(0, 7 * 24 * 4).map(lambda quarter: MONDAY + quarter * 900)


def by_hand(engine: PolicyEngine, mapping: Mapping, requester: Requester, now: float) -> Answer:
    """The answer from the definition: rule after rule, condition after condition."""
    policy = engine.index("home").policy
    asked = Asked(mapping.eid, requester, now, engine.sites, engine.conditions, engine.latched)
    warnings: tuple[str, ...] = ()
    for rule in policy.rules:
        if not all(reason.holds for reason in reasons(rule.match, asked)):
            continue
        outcome = act("home", rule, mapping, engine.conditions, policy.allow_unregistered_rlocs)
        warnings += outcome.warnings
        if outcome.mapping is not None:
            return Answer(outcome.mapping, rule=rule.name, warnings=warnings)
    return Answer(mapping, warnings=warnings)
