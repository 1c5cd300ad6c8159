"""What docs/policy.md teaches is what the engine does."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lisp_sdn.address import EidPrefix
from lisp_sdn.config import load
from lisp_sdn.errors import InvalidPolicy
from lisp_sdn.model import Act, Answer, Locator, Mapping, Requester
from lisp_sdn.policy import Conditions, PolicyBook, PolicyEngine, RlocLoad, Sites, explain

TEXT = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
BASE, BACKUP, SPLIT, BALANCED, PARTNER = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
A, B = ipaddress.ip_address("203.0.113.1"), ipaddress.ip_address("203.0.113.2")
MAPPING = Mapping(EidPrefix.from_text("[42] 10.1.0.0/16")).with_locators(
    (Locator(A, 1, 50), Locator(B, 1, 50))
)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
NIGHT = datetime(2026, 11, 24, 0, tzinfo=UTC).timestamp()


def engine(case: str) -> PolicyEngine:
    config = load(BASE + case)
    return PolicyEngine(config.policies, Sites.from_config(config))


def ask(
    used: PolicyEngine, rloc: str, source: str, to: str = "10.1.3.4", at: float = NOON, **more: bool
) -> Answer:
    requester = Requester(
        (ipaddress.ip_address(rloc),), EidPrefix.from_text(f"[42] {source}/32"), **more
    )
    part = used.narrow(MAPPING, EidPrefix.from_text(f"[42] {to}/32"))
    return used.evaluate(part, requester, at)


def shares(answer: Answer) -> dict[str, str]:
    return {str(one.rloc)[-1]: f"{one.priority}/{one.weight}" for one in answer.mapping.locators}


def test_primary_and_backup() -> None:
    used = engine(BACKUP)
    assert shares(ask(used, "198.51.100.9", "10.2.0.7")) == {"1": "1/50", "2": "3/50"}
    night = ask(used, "198.51.100.9", "10.2.0.7", at=NIGHT)
    assert shares(night) == {"1": "3/50", "2": "1/50"}
    assert night.ttl_minutes(NIGHT) == 5
    used.set_conditions(Conditions(up={B: False}))
    assert ask(used, "198.51.100.9", "10.2.0.7", at=NIGHT).rule == "primary"


def test_the_explanation_is_the_one_that_is_printed() -> None:
    requester = Requester(
        (ipaddress.ip_address("198.51.100.9"),), EidPrefix.from_text("[42] 10.2.0.7/32")
    )
    text = explain(engine(BACKUP), MAPPING, requester, NOON).to_text()
    assert text in TEXT


def test_load_split() -> None:
    assert shares(ask(engine(SPLIT), "198.51.100.9", "10.2.0.7")) == {"1": "1/70", "2": "1/30"}
    used = engine(BALANCED)
    assert shares(ask(used, "198.51.100.9", "10.2.0.7")) == {"1": "1/70", "2": "1/30"}
    used.set_conditions(Conditions(weights={("athens", "split"): {A: 55, B: 45}}))
    assert shares(ask(used, "198.51.100.9", "10.2.0.7")) == {"1": "1/55", "2": "1/45"}
    used.set_conditions(Conditions(load={A: RlocLoad(660e6, 0.8)}))
    assert ask(used, "198.51.100.9", "10.2.0.7").rule == "overflow"
    used.set_conditions(Conditions(load={A: RlocLoad(510e6, 0.6)}))
    assert ask(used, "198.51.100.9", "10.2.0.7").rule == "overflow"
    used.set_conditions(Conditions(load={A: RlocLoad(490e6, 0.6)}))
    assert ask(used, "198.51.100.9", "10.2.0.7").rule == "split"


def test_a_partner_enters_by_its_own_link() -> None:
    used = engine(PARTNER)
    server = ask(used, "192.0.2.1", "10.9.0.1", "10.1.5.9")
    assert (server.rule, shares(server)) == ("partner-to-servers", {"2": "1/50"})
    assert server.mapping.eid == EidPrefix.from_text("[42] 10.1.5.0/24")
    assert server.scope is not None
    assert str(server.scope.source) == "[42] 10.9.0.0/16"
    other = ask(used, "192.0.2.1", "10.77.0.1", "10.1.5.9")
    assert other.mapping.action is Act.DROP_POLICY_DENIED
    assert ask(used, "198.51.100.9", "10.2.0.7", "10.1.5.9").rule == "servers-closed"
    neighbour = ask(used, "192.0.2.1", "10.9.0.1", "10.1.4.9")
    assert (neighbour.rule, neighbour.scope) == ("partner", None)
    assert not neighbour.mapping.eid.covers(EidPrefix.from_text("[42] 10.1.5.0/24"))
    assert shares(ask(used, "198.51.100.9", "10.2.0.7")) == {"1": "1/50", "2": "1/50"}
    assert shares(ask(used, "198.51.100.9", "10.2.0.7", pitr=True)) == {"1": "1/50"}
    used.set_conditions(Conditions(up={B: False}))
    fallen = ask(used, "192.0.2.1", "10.9.0.1")
    assert (fallen.rule, shares(fallen)) == (None, {"1": "1/50", "2": "1/50"})
    assert "fell through" in fallen.warnings[0]


def test_the_refusal_is_the_one_that_is_printed() -> None:
    book = PolicyBook(load(BASE))
    with pytest.raises(InvalidPolicy) as caught:
        book.parse(SPLIT.replace("203.0.113.2", "198.51.100.7"))
    assert " ".join(str(caught.value.problems[0]).split()) in " ".join(TEXT.split())
