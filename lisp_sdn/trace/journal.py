"""The steps as they are written down, and what both ends of the way have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from lisp_sdn.address import IPAddress
from lisp_sdn.config import XtrSettings
from lisp_sdn.model import Locator
from lisp_sdn.trace.values import Mark, Step, StepName, Verdict
from lisp_sdn.views import XtrState


class Ended(Exception):
    """The walk is over before its last step."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class Journal:
    """The steps so far. verdict: if nothing stops the packet.

    sent_on: RLOCs that an xTR sent it on to, because its destination has moved.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.verdict = Verdict.DELIVERED
        self.xtr: str | None = None
        self.rloc: IPAddress | None = None
        self.etr: str | None = None
        self.sent_on: set[IPAddress] = set()

    def ok(self, name: StepName, text: str, details: tuple[str, ...] = ()) -> None:
        """The packet goes on."""
        self.steps.append(Step(name, Mark.OK, text, details=details))

    def note(
        self,
        name: StepName,
        text: str,
        reason: str,
        suggestion: str = "",
        details: tuple[str, ...] = (),
    ) -> None:
        """The packet goes on, and something is worth knowing."""
        self.steps.append(Step(name, Mark.NOTE, text, reason, suggestion, details))

    def resolves(self, name: StepName, text: str, reason: str) -> None:
        """The packet goes on after a Map-Reply."""
        self.verdict = Verdict.RESOLVES
        self.note(name, text, reason)

    def stop(
        self,
        name: StepName,
        text: str,
        reason: str,
        suggestion: str,
        details: tuple[str, ...] = (),
    ) -> NoReturn:
        """The packet stops here. Raises Ended."""
        self.steps.append(Step(name, Mark.STOP, text, reason, suggestion, details))
        raise Ended(Verdict.STOPPED)

    def handed_over(self, name: StepName, text: str) -> NoReturn:
        """The packet leaves our sight. Raises Ended."""
        self.ok(name, text)
        raise Ended(Verdict.RESOLVES if self.verdict is Verdict.RESOLVES else Verdict.HANDED_OVER)

    # --- switches ------------------------------------------------------------------------

    def check_switch(self, name: StepName, xtr: XtrSettings, state: XtrState) -> None:
        """Stop where the switch is away: what it holds is not known."""
        if state.connected_since is None:
            self.stop(
                name,
                f"the switch of xTR {xtr.name} (datapath id {xtr.datapath_id:016x}) is not "
                "connected: it forwards by the rules that it has, and nothing new is resolved",
                "switch-not-connected",
                "on the switch: ovs-vsctl show; is the controller's address right, and reachable?",
            )

    def no_tunnel_port(self, name: StepName, xtr: XtrSettings) -> NoReturn:
        """Stop where nothing can be encapsulated or decapsulated."""
        self.stop(
            name,
            f"the switch of xTR {xtr.name} has no tunnel port {xtr.tunnel_port!r}",
            "no-tunnel-port",
            "add it to the bridge: a tunnel with remote_ip=flow, local_ip=flow and key=flow",
        )


def locators_text(locators: Iterable[Locator]) -> str:
    """RLOCs with priority and weight."""
    return ", ".join(f"{item.rloc} {item.priority}/{item.weight}" for item in locators) or "no RLOC"


def duration(seconds: float) -> str:
    """A time as people say it: 0.4 s, 2:05, 3:00:00."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
