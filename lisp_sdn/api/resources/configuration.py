"""The configuration file of the running controller: what it would change, putting it in force."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pydantic import Field

from lisp_sdn.api.fields import Model, TimeField
from lisp_sdn.api.http import Detail, Problem
from lisp_sdn.api.resources.policy_models import Person
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route
from lisp_sdn.config.changes import ChangeKind, ConfigChange
from lisp_sdn.errors import ConfigError, StaleConfiguration
from lisp_sdn.reloading import Candidate

TAG = "configuration"


class ChangeModel(Model):
    """One difference. path: entries of lists by name. old, new: null for secrets.

    restart: it is in force only after a restart of the controller.
    """

    path: str
    kind: ChangeKind
    old: str | None
    new: str | None
    restart: bool

    @classmethod
    def of(cls, change: ConfigChange) -> ChangeModel:
        """From a value."""
        return cls(
            path=change.path,
            kind=change.kind,
            old=change.old,
            new=change.new,
            restart=change.restart,
        )


class ConfigurationModel(Model):
    """reloaded: when the file was put in force while the controller ran; null: at its start.

    waiting: what the file said then and needs a restart.
    """

    reloaded: TimeField | None
    waiting: list[ChangeModel]


class DifferenceModel(Model):
    """What the file would change. digest: of its text, for the reload of what was seen."""

    source: str
    digest: str
    changes: list[ChangeModel]

    @classmethod
    def of(cls, candidate: Candidate) -> DifferenceModel:
        """From a value."""
        return cls(
            source=candidate.source,
            digest=candidate.digest,
            changes=[ChangeModel.of(change) for change in candidate.changes],
        )


class Reload(Model):
    """digest: of the text that was seen; null: whatever the file says now. who: for the journal."""

    who: Person = "rest"
    digest: str | None = Field(default=None, max_length=200)


@contextlib.contextmanager
def _judged() -> Iterator[None]:
    """Mistakes in the file, all of them, as a problem document."""
    try:
        yield
    except ConfigError as error:
        details: list[Detail] = [
            {"pointer": f"#/{path}", "detail": message} for path, message in error.problems
        ]
        text = f"{error.source} has mistakes, nothing was changed"
        raise Problem("invalid", text, details) from None
    except StaleConfiguration as error:
        raise Problem("precondition-failed", f"{error}; look at them again") from None


def get_configuration(call: Call[NoQuery, None]) -> Reply:
    """Whether everything that the file says is in force."""
    found = call.backend.configuration
    waiting = [ChangeModel.of(change) for change in found.waiting]
    return Reply(ConfigurationModel(reloaded=found.reloaded, waiting=waiting))


def get_difference(call: Call[NoQuery, None]) -> Reply:
    """Reads the file; nothing is changed."""
    with _judged():
        return Reply(DifferenceModel.of(call.backend.configuration.candidate()))


def reload(call: Call[NoQuery, Reload]) -> Reply:
    """Reads the file and puts it in force, all of it or, with a mistake, nothing."""
    with _judged():
        candidate, actions = call.backend.configuration.reload(
            call.now, who=call.person(call.body.who), digest=call.body.digest
        )
    return Reply(DifferenceModel.of(candidate), actions=actions)


ROUTES = (
    Route(
        "GET",
        "/configuration",
        "Tell whether the configuration file is in force",
        get_configuration,
        TAG,
        response=ConfigurationModel,
    ),
    Route(
        "GET",
        "/configuration/diff",
        "Tell what reloading the configuration file would change",
        get_difference,
        TAG,
        response=DifferenceModel,
        errors=("invalid",),
    ),
    Route(
        "POST",
        "/configuration/reload",
        "Put the configuration file in force",
        reload,
        TAG,
        body=Reload,
        response=DifferenceModel,
        changes=True,
        errors=("precondition-failed",),
    ),
)
