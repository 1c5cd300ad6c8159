"""Ingress policies: read, try, apply, explain, history."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from lisp_sdn.actions import Action
from lisp_sdn.api.http import Detail, Problem, check_preconditions, not_found
from lisp_sdn.api.paging import Paging, decode_cursor, page_unsorted
from lisp_sdn.api.resources.policy_models import (
    BalanceList,
    BalanceModel,
    Candidate,
    ChangeModel,
    DiffModel,
    DiffQuery,
    ExplanationModel,
    FlowChangeModel,
    Journal,
    PolicyList,
    Rollback,
    VersionModel,
    VersionPage,
    WhoAsksWhen,
    rule_change_models,
)
from lisp_sdn.api.resources.resolve import read_requester
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route, read_eid
from lisp_sdn.errors import FieldError, InvalidPolicy
from lisp_sdn.policy import to_plain
from lisp_sdn.policy_settings import SitePolicy

TAG = "policies"


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
        limit, policies = call.query.limit, call.body.policies
        rules, changes = call.backend.policy.compare(policies, call.now)
        found = list(islice(changes, limit + 1))
        flows = list(islice(call.backend.policy.flow_changes(policies, call.now), limit + 1))
    return Reply(
        DiffModel.build(
            rules=rule_change_models(rules),
            changes=[ChangeModel.of(change) for change in found[:limit]],
            flows=[FlowChangeModel.of(flow) for flow in flows[:limit]],
            more=max(len(found), len(flows)) > limit,
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


def list_balances(call: Call[NoQuery, None]) -> Reply:
    """What every closed loop is doing."""
    items = [BalanceModel.of(status) for status in call.backend.policy.balance_status]
    return Reply(BalanceList(items=items))


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
        "/policies/balance",
        "Show how the weights follow the measured load",
        list_balances,
        TAG,
        response=BalanceList,
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
