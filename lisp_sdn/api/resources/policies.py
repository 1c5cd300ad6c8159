"""Ingress policies: read, try, apply, explain, history."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from lisp_sdn.actions import Action
from lisp_sdn.api.fields import EidField, KeyField, Model, Query, TimeField
from lisp_sdn.api.http import Detail, Problem, check_preconditions, not_found
from lisp_sdn.api.paging import MAX_LIMIT, Paging, decode_cursor, page_unsorted
from lisp_sdn.api.resources.mappings import MappingModel
from lisp_sdn.api.resources.resolve import RequesterModel, WhoAsks, read_requester
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route, read_eid
from lisp_sdn.errors import FieldError, InvalidPolicy
from lisp_sdn.model import Answer
from lisp_sdn.policy import Change, Explanation, PolicyVersion, RuleChange, to_plain
from lisp_sdn.policy_settings import SitePolicy

TAG = "policies"


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


class DiffModel(Model):
    """What a candidate would change. more: there are changes beyond the limit."""

    rules: list[RuleChangeModel]
    changes: list[ChangeModel]
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
            changes=_rule_changes(version.changes),
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


def _rule_changes(changes: Iterable[RuleChange]) -> list[RuleChangeModel]:
    return [RuleChangeModel.model_validate(change.to_dict()) for change in changes]


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _body(policy: SitePolicy) -> bytes:
    """As it is written: without what is left at its default, so that it can be put back."""
    return _json(to_plain([policy])[0])


def list_policies(call: Call[NoQuery, None]) -> Reply:
    """Those of all sites that have one."""
    ordered = sorted(call.backend.policy.policies, key=lambda policy: policy.site)
    return Reply(_json({"items": to_plain(ordered)}))


def _current(call: Call[Any, Any]) -> tuple[str, SitePolicy | None]:
    site = call.site().name
    found = (policy for policy in call.backend.policy.policies if policy.site == site)
    return site, next(found, None)


def get_policy(call: Call[NoQuery, None]) -> Reply:
    """That of one site."""
    site, policy = _current(call)
    if policy is None:
        raise not_found("policy of site", site)
    return Reply(_body(policy))


def put_policy(call: Call[Journal, SitePolicy]) -> Reply:
    """Judge, then put in force, everywhere at once."""
    site, before = _current(call)
    if call.body.site != site:
        detail = f"{call.body.site!r}, but the path is of {site!r}"
        raise Problem("invalid", f"site: {detail}", [{"pointer": "#/site", "detail": detail}])
    _check_conditions(call, before)
    actions = _apply(call, call.body)
    if not call.body.rules:
        return Reply(_body(call.body), actions=actions)
    return Reply(_body(call.body), 201 if before is None else 200, actions=actions)


def delete_policy(call: Call[Journal, None]) -> Reply:
    """Everybody gets the registered RLOC-set again."""
    site, before = _current(call)
    if before is None:
        raise not_found("policy of site", site)
    _check_conditions(call, before)
    return Reply(status=204, actions=_apply(call, SitePolicy(site=site)))


def _check_conditions(call: Call[Any, Any], before: SitePolicy | None) -> None:
    headers = [call.request.header(name) for name in ("If-Match", "If-None-Match")]
    if headers == [None, None]:
        raise Problem(
            "precondition-required",
            "send If-Match with the ETag that GET shows, or If-None-Match: * for a new policy",
        )
    check_preconditions(call.request, _body(before) if before else None)


def _apply(call: Call[Journal, Any], policy: SitePolicy) -> list[Action]:
    query = call.query
    with _judged():
        _, actions = call.backend.policy.apply(
            [policy], who=call.person(query.who), why=query.why, now=call.now
        )
    return actions


@contextlib.contextmanager
def _judged() -> Iterator[None]:
    """What the engine refuses, as a problem document."""
    try:
        yield
    except InvalidPolicy as error:
        details: list[Detail] = [
            {"detail": str(problem), "pointer": f"#/{problem.rule}/{problem.field}"}
            for problem in error.problems
        ]
        raise Problem("invalid", "the policy is refused, nothing was changed", details) from None
    except FieldError as error:
        raise Problem("invalid", str(error)) from None


def explain_policy(call: Call[WhoAsksWhen, None]) -> Reply:
    """The rule chain, condition by condition, and the answer."""
    query = call.query
    eid = read_eid(query.eid, query.iid, "eid")
    requester = read_requester(call.backend, query, eid)
    at = query.at.timestamp() if query.at is not None else call.now
    explanation = call.backend.policy.explain(eid, requester, at)
    if explanation is None:
        raise Problem("not-found", f"nothing is registered for {eid}, so no policy applies")
    return Reply(ExplanationModel.of(explanation))


def compare_policies(call: Call[DiffQuery, Candidate]) -> Reply:
    """What would change; nothing is changed."""
    with _judged():
        rules, changes = call.backend.policy.compare(call.body.policies, call.now)
        found = list(islice(changes, call.query.limit + 1))
    limit = call.query.limit
    return Reply(
        DiffModel.build(
            rules=_rule_changes(rules),
            changes=[ChangeModel.of(change) for change in found[:limit]],
            more=len(found) > limit,
        )
    )


def list_versions(call: Call[Paging, None]) -> Reply:
    """Newest first."""
    query = call.query
    page = page_unsorted(
        call.backend.policy.history(),
        lambda version: (-version.version,),
        query.limit,
        decode_cursor(query.after, (int,)) if query.after else None,
    )
    items = [VersionModel.of(version) for version in page.items]
    return Reply(VersionPage(items=items, next=page.next), next=page.next)


def rollback_policies(call: Call[NoQuery, Rollback]) -> Reply:
    """As a new version."""
    body = call.body
    with _judged():
        version, actions = call.backend.policy.rollback(
            body.version, who=call.person(body.who), why=body.why, now=call.now
        )
    return Reply(VersionModel.of(version), actions=actions)


ROUTES = (
    Route(
        "GET", "/policies", "List the policies in force", list_policies, TAG, response=PolicyList
    ),
    Route(
        "GET",
        "/policies/explain",
        "Tell why a requester gets his answer, rule by rule",
        explain_policy,
        TAG,
        query=WhoAsksWhen,
        response=ExplanationModel,
        errors=("not-found",),
    ),
    Route(
        "POST",
        "/policies/diff",
        "Tell what a candidate would change, without changing anything",
        compare_policies,
        TAG,
        query=DiffQuery,
        body=Candidate,
        response=DiffModel,
    ),
    Route(
        "GET",
        "/policies/history",
        "List the versions, the newest first",
        list_versions,
        TAG,
        query=Paging,
        response=VersionPage,
    ),
    Route(
        "POST",
        "/policies/rollback",
        "Put an earlier version in force again",
        rollback_policies,
        TAG,
        body=Rollback,
        response=VersionModel,
        changes=True,
    ),
    Route(
        "GET", "/policies/{name}", "Show the policy of a site", get_policy, TAG, response=SitePolicy
    ),
    Route(
        "PUT",
        "/policies/{name}",
        "Put the policy of a site in force",
        put_policy,
        TAG,
        query=Journal,
        body=SitePolicy,
        response=SitePolicy,
        statuses=(200, 201),
        changes=True,
        conditional=True,
        errors=("precondition-required",),
    ),
    Route(
        "DELETE",
        "/policies/{name}",
        "Remove the policy of a site",
        delete_policy,
        TAG,
        query=Journal,
        statuses=(204,),
        changes=True,
        conditional=True,
        errors=("precondition-required",),
    ),
)
