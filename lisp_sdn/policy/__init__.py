"""Ingress policy: what a site answers, depending on who asks.

A policy belongs to a site and is an ordered list of rules (`lisp_sdn.policy_settings`); the first
rule that matches decides, and without one everybody gets the registered RLOC-set.

    sites = Sites.from_config(config)                   # EID -> site, RLOC -> site, our xTRs
    engine = PolicyEngine(config.policies, sites)       # an AnswerPolicy for the mapping system
    engine.evaluate(mapping, requester, now) -> Answer  # pure; .scope, .valid_until, .warnings
    engine.narrow(mapping, asked) -> Mapping            # the part that the same rules cover as
                                                        # the EID asked for; evaluate that part
    engine.set_conditions(conditions) -> bool           # health, load, balanced weights; in place,
    engine.set_policies(policies) / .set_sites(sites)   #   True when an answer may have changed
    engine.next_change(now) -> float | None             # when a time window changes answers
    engine.copy() -> PolicyEngine                       # to try a candidate on

    explain(engine, mapping, requester, now) -> Explanation      # .steps, .answer,
                                                                 # .to_dict(), .to_text()
    diff(old, new, mappings, now) -> Iterator[Change]   # Change(mapping, requester, who, old, new):
                                                        # every class of requesters with another
                                                        # answer; .to_dict()
    affected(old, new, mappings, now) -> Iterator[EidPrefix]     # for MappingChanged
    rule_changes(old_policies, new_policies) -> tuple[RuleChange, ...]      # .to_dict()

`old` and `new` are engines. For a change of conditions: `new = engine.copy()`,
`new.set_conditions(...)`. For a time window: the same engine twice and `since=` the time before.

    book = PolicyBook(config, store, registered)        # store: any PolicyStore, mapping.store fits
    engine.set_policies(book.start(now))                # configuration or the newest stored version
    book.policies, book.etag, book.version, book.unreadable
    book.parse(text) -> tuple[SitePolicy, ...]          # YAML or JSON; raises InvalidPolicy
    book.merged(policies)                               # what would be in force: for the candidate
    book.apply(policies, if_match=, who=, why=, now=) -> PolicyVersion      # raises StalePolicy
    book.rollback(version, who=, why=, now=, if_match="*") -> PolicyVersion
    book.history() -> tuple[PolicyVersion, ...]         # newest first; .to_dict(full=False)
    to_yaml(policies) -> str; to_plain(policies) -> list[dict]; etag(policies) -> str

    balancers = Balancers(policies)                     # the closed loop of `action.balance`
    balancers.observe(octets, now, down=()) -> BalancedWeights | None    # when weights change
    balancers.status() -> tuple[BalanceStatus, ...]     # .to_dict()
    LoadMeter().observe(octets, now) -> dict[IPAddress, RlocLoad]        # for Conditions.load
"""

from lisp_sdn.policy.balance import Balancer, Balancers, BalanceState, BalanceStatus
from lisp_sdn.policy.book import PolicyBook, PolicyStore, PolicyVersion
from lisp_sdn.policy.compare import Change, affected, diff
from lisp_sdn.policy.conditions import BalancedWeights, Conditions, LoadMeter, RlocLoad
from lisp_sdn.policy.document import etag, to_plain, to_yaml
from lisp_sdn.policy.engine import PolicyEngine
from lisp_sdn.policy.explanation import Explanation, RuleStep, Verdict, explain
from lisp_sdn.policy.match import Reason
from lisp_sdn.policy.rulechanges import RuleChange, rule_changes
from lisp_sdn.policy.sites import KnownXtr, Sites

__all__ = [
    "BalanceState",
    "BalanceStatus",
    "BalancedWeights",
    "Balancer",
    "Balancers",
    "Change",
    "Conditions",
    "Explanation",
    "KnownXtr",
    "LoadMeter",
    "PolicyBook",
    "PolicyEngine",
    "PolicyStore",
    "PolicyVersion",
    "Reason",
    "RlocLoad",
    "RuleChange",
    "RuleStep",
    "Sites",
    "Verdict",
    "affected",
    "diff",
    "etag",
    "explain",
    "rule_changes",
    "to_plain",
    "to_yaml",
]
