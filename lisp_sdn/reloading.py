"""The configuration file while the controller runs: what it would change, and changing it.

The implementation of `lisp_sdn.api.backend.ConfigurationBackend`; SIGHUP comes here as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from lisp_sdn.actions import Action, Event
from lisp_sdn.config import Config, check, load
from lisp_sdn.config.changes import ConfigChange, diff, effective
from lisp_sdn.errors import ConfigError, InvalidPolicy, StaleConfiguration, StoreError
from lisp_sdn.ledger import Ledger
from lisp_sdn.mapping.store import Store
from lisp_sdn.policing import Policing

MAX_TOLD = 50
"""Changes that the event of a reload names."""

Text = tuple[str, str]
"""Where a configuration was read, and its text."""


class Reconfigurable(Protocol):
    """The controller, as far as it is read and changed from here."""

    config: Config
    ledger: Ledger
    policing: Policing
    store: Store

    def reconfigure(self, config: Config, now: float) -> list[Action]:
        """Go on under another configuration."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that was read and is without mistakes.

    source: where it was read. digest: of its text. changes: against the one in force.
    """

    source: str
    digest: str
    config: Config
    changes: tuple[ConfigChange, ...]


def _nothing_to_read() -> Text:
    message = "the controller was started without a configuration file"
    raise ConfigError("configuration", [("(file)", message)])


class Reloading:
    """read: given by the edges, reads the file that the controller was started with; ConfigError.

    waiting: what the file says and needs a restart. reloaded: when one was put in force last.
    """

    def __init__(self, controller: Reconfigurable) -> None:
        self._controller = controller
        self.read: Callable[[], Text] = _nothing_to_read
        self.waiting: tuple[ConfigChange, ...] = ()
        self.reloaded: float | None = None

    def candidate(self) -> Candidate:
        """Read the file and judge it; nothing is changed. Raises ConfigError with every mistake."""
        source, text = self.read()
        config = load(text, source)
        self._judge(source, config)
        digest = blake2b(text.encode(), digest_size=16).hexdigest()
        return Candidate(source, digest, config, diff(self._controller.config, config))

    def _judge(self, source: str, config: Config) -> None:
        """Whether it can be put in force without a restart, beside what cannot."""
        together = effective(self._controller.config, config)
        found = [
            (path, f"{message} (beside what needs a restart)") for path, message in check(together)
        ]
        if found:
            raise ConfigError(source, found)
        try:
            self._controller.policing.judge(together)
        except InvalidPolicy as error:
            found = [("policies in force", str(problem)) for problem in error.problems]
            raise ConfigError(source, found) from None

    def reload(
        self, now: float, *, who: str, digest: str | None = None
    ) -> tuple[Candidate, list[Action]]:
        """Put the file in force. digest: of the text that the caller has seen, None for any.

        Raises ConfigError, StaleConfiguration, StoreError; then nothing has changed.
        """
        candidate = self.candidate()
        if digest is not None and digest != candidate.digest:
            raise StaleConfiguration(candidate.source)
        live = [change for change in candidate.changes if not change.restart]
        if live:
            self._note(candidate, who, now)
        actions = self._controller.reconfigure(candidate.config, now)
        self.waiting = tuple(change for change in candidate.changes if change.restart)
        self.reloaded = now
        told = [str(change) for change in candidate.changes[:MAX_TOLD]]
        data = {"who": who, "changes": len(candidate.changes), "told": told}
        event = Event("configuration.reloaded", candidate.source, data)
        self._controller.ledger.note_event(event, now)
        return candidate, [event, *actions]

    def _note(self, candidate: Candidate, who: str, now: float) -> None:
        told = json.dumps({"changes": [str(change) for change in candidate.changes]})
        self._controller.store.journal_append(
            now, who, "configuration: reload", candidate.source, told
        )

    def signalled(self, now: float) -> list[Action]:
        """SIGHUP came: reload, and tell by an event when that is refused."""
        try:
            return self.reload(now, who="SIGHUP")[1]
        except ConfigError as error:
            problems = [f"{path}: {message}" for path, message in error.problems]
            data: dict[str, object] = {"problems": problems}
            event = Event("configuration.refused", error.source, data)
        except StoreError as error:
            event = Event("configuration.refused", "store", {"problems": [str(error)]})
        self._controller.ledger.note_event(event, now)
        return [event]
