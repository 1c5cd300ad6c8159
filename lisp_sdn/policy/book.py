"""The policies in force and every version before: apply, history, rollback.

A version is the whole set of policies. What is in force after a start: the newest stored version,
unless the configuration file's policies differ from those of the last start; then these, as a new
version. So a change by REST or lispctl outlives a restart, and so does an edit of the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lisp_sdn.config import Config
from lisp_sdn.errors import FieldError, InvalidPolicy, StalePolicy
from lisp_sdn.policy.document import Registered, check, etag, from_plain, parse, to_plain
from lisp_sdn.policy.rulechanges import RuleChange, rule_changes
from lisp_sdn.policy_settings import SitePolicy

KIND = "policy"
"""Kind of the stored documents: one per version."""

MAX_VERSIONS = 200
"""Versions that are kept; the oldest goes first."""


class StoredDocument(Protocol):
    """What a store gives back."""

    @property
    def name(self) -> str:
        """The name it was put under."""

    @property
    def body(self) -> str:
        """The text."""


class PolicyStore(Protocol):
    """What the book needs of a store. Its methods raise StoreError."""

    def document_put(
        self, kind: str, name: str, body: str, now: float, *, expected: int | None = None
    ) -> StoredDocument:
        """Keep a document. expected: 0 when it must be new."""

    def document_list(self, kind: str) -> Sequence[StoredDocument]:
        """All documents of a kind."""

    def document_delete(self, kind: str, name: str, *, expected: int | None = None) -> bool:
        """Delete one; False when there is none."""

    def journal_append(
        self, time: float, who: str, what: str, why: str = "", body: str = "{}"
    ) -> object:
        """Note a change in the journal of all changes."""


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of all policies, and its journal entry.

    version: 1, 2, ... at: epoch seconds. what: "configuration", "apply" or "rollback to N".
    changes: against the version before. configured: entity tag of the file's policies then.
    """

    version: int
    at: float
    who: str
    what: str
    why: str
    policies: tuple[SitePolicy, ...]
    changes: tuple[RuleChange, ...]
    configured: str

    @property
    def etag(self) -> str:
        """The entity tag."""
        return etag(self.policies)

    def to_dict(self, *, full: bool = False) -> dict[str, Any]:
        """Plain values. full: with the policies themselves."""
        plain: dict[str, Any] = {
            "version": self.version,
            "at": self.at,
            "who": self.who,
            "what": self.what,
            "why": self.why,
            "etag": self.etag,
            "changes": [change.to_dict() for change in self.changes],
        }
        return plain | {"policies": to_plain(self.policies)} if full else plain

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(self.to_dict(full=True) | {"configured": self.configured})

    @classmethod
    def from_json(cls, text: str) -> PolicyVersion:
        """Inverse of `to_json`. Raises InvalidPolicy, KeyError, TypeError or ValueError."""
        data = json.loads(text)
        return cls(
            int(data["version"]),
            float(data["at"]),
            str(data["who"]),
            str(data["what"]),
            str(data["why"]),
            from_plain(data["policies"]),
            tuple(RuleChange(**change) for change in data["changes"]),
            str(data["configured"]),
        )


class PolicyBook:
    """Decides whether a change of policy is taken, and keeps the versions.

    store: where versions outlive a restart; without it they do not. registered: what each site
    has registered, for the check that rules name only these RLOCs.
    """

    def __init__(
        self,
        config: Config,
        store: PolicyStore | None = None,
        registered: Registered | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._registered = registered
        self._versions: list[PolicyVersion] = []
        self.unreadable: tuple[str, ...] = ()

    def start(self, now: float) -> tuple[SitePolicy, ...]:
        """Recover the versions and say which policies are in force. Raises StoreError.

        Stored versions that this program cannot read are left out and named in `unreadable`.
        """
        self._recover()
        configured = etag(self._config.policies)
        last = self._versions[-1] if self._versions else None
        if last is None or last.configured != configured:
            self._add(
                _Request(
                    "configuration",
                    "configuration",
                    "first start" if last is None else "the policies of the file have changed",
                    now,
                ),
                self._config.policies,
            )
        return self.policies

    def configure(self, config: Config, now: float) -> None:
        """Go on with another configuration: its policies win when the file's were edited.

        Otherwise what is in force stays. Raises InvalidPolicy, StoreError; then nothing changed.
        """
        edited = self.judge_configuration(config)
        self._config = config
        if edited:
            why = "the policies of the file have changed"
            self._add(_Request("configuration", "configuration", why, now), config.policies)

    def judge_configuration(self, config: Config) -> bool:
        """Whether the policies of the file were edited, and thus win. Raises InvalidPolicy.

        Judged are the policies that would be in force.
        """
        edited = etag(config.policies) != etag(self._config.policies)
        check(config, config.policies if edited else self.policies)
        return edited

    def _recover(self) -> None:
        found: list[PolicyVersion] = []
        unreadable: list[str] = []
        for document in self._store.document_list(KIND) if self._store else ():
            try:
                found.append(PolicyVersion.from_json(document.body))
            except (InvalidPolicy, KeyError, TypeError, ValueError) as error:
                unreadable.append(f"policy version {document.name}: {error}")
        self._versions = sorted(found, key=lambda version: version.version)
        self.unreadable = tuple(unreadable)

    # --- what is in force ----------------------------------------------------------------

    @property
    def policies(self) -> tuple[SitePolicy, ...]:
        """The policies in force."""
        return self._versions[-1].policies if self._versions else self._config.policies

    @property
    def etag(self) -> str:
        """Their entity tag, for `if_match`."""
        return etag(self.policies)

    @property
    def version(self) -> int:
        """Number of the version in force; 0 before `start`."""
        return self._versions[-1].version if self._versions else 0

    def history(self) -> tuple[PolicyVersion, ...]:
        """Every version that is kept, newest first."""
        return tuple(reversed(self._versions))

    # --- changes -------------------------------------------------------------------------

    def parse(self, text: str) -> tuple[SitePolicy, ...]:
        """Read a candidate and judge it as `apply` would. Raises InvalidPolicy."""
        policies = parse(text)
        check(self._config, policies, self._registered)
        return policies

    def judge(self, policies: Iterable[SitePolicy]) -> None:
        """Whether `apply` would take them. Raises InvalidPolicy."""
        check(self._config, tuple(policies), self._registered)

    def merged(self, policies: Iterable[SitePolicy]) -> tuple[SitePolicy, ...]:
        """What would be in force: the sites named replaced, a site without rules removed."""
        after = {policy.site: policy for policy in self.policies}
        after.update((policy.site, policy) for policy in policies)
        return tuple(policy for policy in after.values() if policy.rules)

    def apply(
        self, policies: Iterable[SitePolicy], *, if_match: str, who: str, why: str, now: float
    ) -> PolicyVersion:
        """Put policies of some sites in force, those of other sites stay.

        if_match: the entity tag that the caller has seen, or "*" for any. Raises StalePolicy,
        InvalidPolicy, StoreError, and FieldError for an empty who or why; then nothing changed.
        """
        self._match(if_match)
        wanted = tuple(policies)
        check(self._config, wanted, self._registered)
        return self._add(_Request(who, "apply", why, now), self.merged(wanted))

    def rollback(
        self, version: int, *, who: str, why: str, now: float, if_match: str = "*"
    ) -> PolicyVersion:
        """Put all policies of an earlier version in force again, as a new version.

        Raises as `apply` does, FieldError also for a version that is not kept.
        """
        self._match(if_match)
        found = next((entry for entry in self._versions if entry.version == version), None)
        if found is None:
            kept = f"{self._versions[0].version}..{self.version}" if self._versions else "none"
            raise FieldError("version", version, f"one that is kept: {kept}")
        # What is registered may have changed since; the way back must not depend on that.
        check(self._config, found.policies)
        return self._add(_Request(who, f"rollback to {version}", why, now), found.policies)

    def _match(self, if_match: str) -> None:
        if if_match not in ("*", self.etag):
            raise StalePolicy(if_match, self.etag)

    def _add(self, request: _Request, policies: tuple[SitePolicy, ...]) -> PolicyVersion:
        for name in ("who", "why"):
            if not getattr(request, name).strip():
                raise FieldError(name, getattr(request, name), "a text, it goes into the journal")
        entry = PolicyVersion(
            self.version + 1,
            request.now,
            request.who,
            request.what,
            request.why,
            policies,
            rule_changes(self.policies if self._versions else (), policies),
            etag(self._config.policies),
        )
        if self._store:
            self._store.document_put(KIND, _name(entry.version), entry.to_json(), entry.at)
            body = json.dumps(entry.to_dict())
            self._store.journal_append(
                entry.at, entry.who, f"policy: {entry.what}", entry.why, body
            )
        self._versions.append(entry)
        while len(self._versions) > MAX_VERSIONS:
            oldest = self._versions.pop(0)
            if self._store:
                self._store.document_delete(KIND, _name(oldest.version))
        return entry


@dataclass(frozen=True, slots=True)
class _Request:
    who: str
    what: str
    why: str
    now: float


def _name(version: int) -> str:
    return f"{version:08d}"
