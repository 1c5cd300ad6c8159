"""What goes in and out of the policy routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from lisp_sdn.api.fields import (
    DatapathField,
    EidField,
    KeyField,
    Model,
    Query,
    RlocField,
    TimeField,
)
from lisp_sdn.api.paging import MAX_LIMIT
from lisp_sdn.api.resources.mappings import MappingModel
from lisp_sdn.api.resources.resolve import RequesterModel, WhoAsks
from lisp_sdn.model import Answer
from lisp_sdn.policy import BalanceStatus, Change, Explanation, PolicyVersion, RuleChange
from lisp_sdn.policy_settings import SitePolicy
from lisp_sdn.views import FlowChange

Person = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
Why = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]


class PolicyList(Model):
    """The policies of all sites."""

    items: list[SitePolicy]


class Journal(Query):
    """Who changes a policy, and why: kept in the history."""

    who: Person
    why: Why


class AnswerPart(Model):
    """What a requester gets. rule: that decided, None: as registered."""

    mapping: MappingModel
    rule: str | None
    warnings: list[str]
    scope: KeyField | None
    valid_until: TimeField | None

    @classmethod
    def of(cls, answer: Answer) -> AnswerPart:
        """From the value."""
        return cls.build(
            mapping=MappingModel.of(answer.mapping),
            rule=answer.rule,
            warnings=list(answer.warnings),
            scope=answer.scope,
            valid_until=answer.valid_until,
        )


class ReasonModel(Model):
    """One condition of a rule: what it wants, what was found, whether it holds."""

    field: str
    expected: str
    found: str
    holds: bool


class StepModel(Model):
    """What became of one rule, and why."""

    rule: str
    verdict: Literal["decided", "no-match", "fell-through", "not-reached"]
    detail: str
    note: str
    reasons: list[ReasonModel]


class ExplanationModel(Model):
    """The rule chain and its result. text: the same for a person."""

    eid: EidField
    site: str | None
    at: TimeField
    requester: RequesterModel
    rules: list[StepModel]
    detail: str
    registered: MappingModel
    answer: AnswerPart
    text: str

    @classmethod
    def of(cls, explanation: Explanation) -> ExplanationModel:
        """From the value."""
        return cls.build(
            eid=explanation.mapping.eid,
            site=explanation.site,
            at=explanation.at,
            requester=RequesterModel.of(explanation.requester),
            rules=[StepModel.model_validate(step.to_dict()) for step in explanation.steps],
            detail=explanation.detail,
            registered=MappingModel.of(explanation.mapping),
            answer=AnswerPart.of(explanation.answer),
            text=explanation.to_text(),
        )


class Candidate(Model):
    """Policies that are tried; sites that are not named keep theirs."""

    policies: list[SitePolicy] = Field(min_length=1, max_length=1000)


class RuleChangeModel(Model):
    """One rule that differs."""

    site: str
    rule: str
    kind: Literal["added", "removed", "changed", "moved"]


class ChangeModel(Model):
    """One class of requesters that would get another answer. who: the class in words."""

    eid: EidField
    who: str
    requester: RequesterModel
    old: AnswerPart
    new: AnswerPart

    @classmethod
    def of(cls, change: Change) -> ChangeModel:
        """From the value."""
        return cls.build(
            eid=change.mapping.eid,
            who=change.who,
            requester=RequesterModel.of(change.requester),
            old=AnswerPart.of(change.old),
            new=AnswerPart.of(change.new),
        )


class FlowChangeModel(Model):
    """A map-cache entry of an xTR of ours whose flows on its switch would change."""

    xtr: str
    datapath_id: DatapathField
    eid: KeyField
    old: AnswerPart
    new: AnswerPart

    @classmethod
    def of(cls, change: FlowChange) -> FlowChangeModel:
        """From the value."""
        return cls.build(
            xtr=change.xtr,
            datapath_id=change.datapath_id,
            eid=change.eid,
            old=AnswerPart.of(change.old),
            new=AnswerPart.of(change.new),
        )


class DiffModel(Model):
    """What a candidate would change, as things are now.

    changes: who would get another answer. flows: which flows of our switches would change. more:
    there are changes or flows beyond the limit.
    """

    rules: list[RuleChangeModel]
    changes: list[ChangeModel]
    flows: list[FlowChangeModel]
    more: bool


class DiffQuery(Query):
    """The query parameters of a difference."""

    limit: int = Field(default=100, ge=1, le=MAX_LIMIT, description="changes to name")


class VersionModel(Model):
    """One version of the policies of all sites. what: configuration, apply or rollback to N."""

    version: int
    at: TimeField
    who: str
    what: str
    why: str
    changes: list[RuleChangeModel]

    @classmethod
    def of(cls, version: PolicyVersion) -> VersionModel:
        """From the value."""
        return cls(
            version=version.version,
            at=version.at,
            who=version.who,
            what=version.what,
            why=version.why,
            changes=rule_change_models(version.changes),
        )


class VersionPage(Model):
    """A page of the history, the newest first."""

    items: list[VersionModel]
    next: str | None


class Rollback(Model):
    """Back to the policies of an earlier version; itself a new version."""

    version: int = Field(ge=0, le=1 << 62)
    who: Person
    why: Why


class WhoAsksWhen(WhoAsks):
    """The query parameters of explain."""

    at: AwareDatetime | None = Field(default=None, description="evaluate at this time; now")


class BalancedLocator(Model):
    """One RLOC of a closed loop. weight: now; share: measured, target: wished for, 0..1."""

    rloc: RlocField
    weight: int
    share: float | None
    target: float


class BalanceModel(Model):
    """One closed loop: a rule whose weights follow the measured inbound load.

    deviation: the largest difference between share and target.
    """

    site: str
    rule: str
    state: str
    deviation: float
    locators: list[BalancedLocator]

    @classmethod
    def of(cls, status: BalanceStatus) -> BalanceModel:
        """From the value."""
        return cls(
            site=status.site,
            rule=status.rule,
            state=status.state.value,
            deviation=round(status.deviation, 4),
            locators=[
                BalancedLocator(
                    rloc=rloc,
                    weight=weight,
                    share=None if (share := status.shares.get(rloc)) is None else round(share, 4),
                    target=round(status.target.get(rloc, 0.0), 4),
                )
                for rloc, weight in status.weights.items()
            ],
        )


class BalanceList(Model):
    """Every closed loop."""

    items: list[BalanceModel]


def rule_change_models(changes: Iterable[RuleChange]) -> list[RuleChangeModel]:
    """From the values."""
    return [RuleChangeModel.model_validate(change.to_dict()) for change in changes]
