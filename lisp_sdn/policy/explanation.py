"""Why a requester gets the answer that he gets: the whole rule chain, condition by condition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from lisp_sdn.address import EidPrefix
from lisp_sdn.model import Answer, Locator, Mapping, Requester
from lisp_sdn.policy.engine import PolicyEngine
from lisp_sdn.policy.match import Asked, Reason, reasons
from lisp_sdn.policy.rlocset import act
from lisp_sdn.policy_settings import PolicyRule, SitePolicy, xtr_id_text


class Verdict(StrEnum):
    """What became of a rule."""

    DECIDED = "decided"
    NO_MATCH = "no-match"
    FELL_THROUGH = "fell-through"
    NOT_REACHED = "not-reached"


@dataclass(frozen=True, slots=True)
class RuleStep:
    """One rule of the chain. detail: why it fell through or did not match, in one line."""

    rule: str
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    detail: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "rule": self.rule,
            "verdict": self.verdict.value,
            "detail": self.detail,
            "note": self.note,
            "reasons": [
                {
                    "field": reason.field,
                    "expected": reason.expected,
                    "found": reason.found,
                    "holds": reason.holds,
                }
                for reason in self.reasons
            ],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rule chain and its result. site: None when no site owns the EID-prefix."""

    mapping: Mapping
    requester: Requester
    at: float
    site: str | None
    steps: tuple[RuleStep, ...]
    answer: Answer
    detail: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain values, as REST gives them."""
        return {
            "eid_prefix": str(self.mapping.eid),
            "site": self.site,
            "requester": requester_dict(self.requester),
            "at": self.at,
            "rules": [step.to_dict() for step in self.steps],
            "detail": self.detail,
            "registered": mapping_dict(self.mapping),
            "answer": answer_dict(self.answer),
        }

    def to_text(self) -> str:
        """The same for a person, a line per step."""
        moment = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        lines = [
            f"EID-prefix {self.mapping.eid} of site {self.site or '(none)'} at {moment}",
            f"asked by {requester_text(self.requester)}",
        ]
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number:4d}. {step.rule}: {step.verdict.value}{_tail(step.detail)}")
            lines += [
                f"        {'yes' if reason.holds else 'no '} {reason.to_text()}"
                for reason in step.reasons
            ]
        decided = f"rule {self.answer.rule}" if self.answer.rule else "the registered RLOC-set"
        lines.append(f"decided by {decided}{_tail(self.detail)}")
        lines += [f"warning: {warning}" for warning in self.answer.warnings]
        lines += mapping_lines(self.answer.mapping)
        if self.answer.scope:
            lines.append(f"holds for source EIDs in {self.answer.scope.source}")
        if self.answer.valid_until is not None:
            until = datetime.fromtimestamp(self.answer.valid_until, UTC)
            lines.append(f"holds until {until:%Y-%m-%d %H:%M:%S} UTC")
        return "\n".join(lines)


def explain(
    engine: PolicyEngine, mapping: Mapping, requester: Requester, now: float
) -> Explanation:
    """Walk the rules one by one, as `evaluate` decides them at once. now: epoch seconds."""
    answer = engine.evaluate(mapping, requester, now)
    site = engine.sites.owner(mapping.eid)
    index = engine.index(site) if site else None
    if index is None:
        detail = f"site {site} has no policy" if site else "no site owns this EID-prefix"
        return Explanation(mapping, requester, now, site, (), answer, detail)
    asked = Asked(mapping.eid, requester, now, engine.sites, engine.conditions, engine.latched)
    steps: list[RuleStep] = []
    decided = False
    for rule in index.rules:
        step = _step(engine, index.policy, rule, mapping, asked, decided)
        decided = decided or step.verdict is Verdict.DECIDED
        steps.append(step)
    return Explanation(mapping, requester, now, site, tuple(steps), answer)


def _step(
    engine: PolicyEngine,
    policy: SitePolicy,
    rule: PolicyRule,
    mapping: Mapping,
    asked: Asked,
    decided: bool,
) -> RuleStep:
    found = tuple(reasons(rule.match, asked))
    failed = [reason for reason in found if not reason.holds]
    if failed:
        detail = failed[0].to_text() + _wider(rule, mapping.eid)
        return RuleStep(rule.name, Verdict.NO_MATCH, found, detail, rule.note)
    if decided:
        return RuleStep(
            rule.name, Verdict.NOT_REACHED, found, "matches, but an earlier rule decided", rule.note
        )
    outcome = act(policy.site, rule, mapping, engine.conditions, policy.allow_unregistered_rlocs)
    if outcome.mapping is None:
        return RuleStep(rule.name, Verdict.FELL_THROUGH, found, outcome.reason, rule.note)
    return RuleStep(rule.name, Verdict.DECIDED, found, "", rule.note)


def _wider(rule: PolicyRule, eid: EidPrefix) -> str:
    inside = [prefix for prefix in rule.match.eid_prefixes if eid.covers(prefix) and prefix != eid]
    return f"; {inside[0]} is only a part of the registered {eid}" if inside else ""


def _tail(detail: str) -> str:
    return f" ({detail})" if detail else ""


def requester_text(requester: Requester) -> str:
    """A requester in one line."""
    rlocs = ", ".join(map(str, requester.itr_rlocs)) or "(none)"
    parts = [f"ITR-RLOC {rlocs}", f"source EID {requester.source_eid or '(none)'}"]
    if requester.xtr:
        parts.insert(0, f"xTR {requester.xtr}")
    if requester.xtr_id is not None:
        proven = "" if requester.authenticated else " (not proven)"
        parts.append(f"xTR-ID {xtr_id_text(requester.xtr_id)}{proven}")
    if requester.pitr:
        parts.append("PITR")
    return ", ".join(parts)


def requester_dict(requester: Requester) -> dict[str, object]:
    """A requester as plain values."""
    return {
        "itr_rlocs": [str(rloc) for rloc in requester.itr_rlocs],
        "source_eid": str(requester.source_eid) if requester.source_eid else None,
        "xtr": requester.xtr,
        "xtr_id": None if requester.xtr_id is None else xtr_id_text(requester.xtr_id),
        "pitr": requester.pitr,
        "authenticated": requester.authenticated,
    }


def mapping_dict(mapping: Mapping) -> dict[str, object]:
    """A mapping as plain values."""
    return {
        "eid_prefix": str(mapping.eid),
        "action": mapping.action.text,
        "ttl_minutes": mapping.ttl_minutes,
        "locators": [
            {
                "rloc": str(locator.rloc),
                "priority": locator.priority,
                "weight": locator.weight,
                "reachable": locator.reachable,
            }
            for locator in mapping.locators
        ],
    }


def answer_dict(answer: Answer) -> dict[str, object]:
    """An answer as plain values."""
    return {
        **mapping_dict(answer.mapping),
        "rule": answer.rule,
        "warnings": list(answer.warnings),
        "source_eids": str(answer.scope.source) if answer.scope else None,
        "valid_until": answer.valid_until,
    }


def mapping_lines(mapping: Mapping) -> list[str]:
    """A mapping as the lines that everybody reads: locator, state, priority/weight."""
    if mapping.negative:
        return [f"    {mapping.action.text}, TTL {mapping.ttl_minutes} min"]
    return [
        *(f"    {_locator_text(locator)}" for locator in mapping.locators),
        f"    TTL {mapping.ttl_minutes} min",
    ]


def _locator_text(locator: Locator) -> str:
    state = "up" if locator.reachable else "down"
    return f"{locator.rloc!s:<39} {state:<5} {locator.priority}/{locator.weight}"
