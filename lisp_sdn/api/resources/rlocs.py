"""The RLOCs of our xTRs: taken out of use before maintenance, and put back."""

from __future__ import annotations

from ipaddress import ip_address

from lisp_sdn.address import IPAddress
from lisp_sdn.api.fields import Model, RlocField
from lisp_sdn.api.routing import Call, NoQuery, Reply, Route, unknown

TAG = "xtrs"


class DrainModel(Model):
    """An RLOC of an xTR of ours. drained: it carries traffic only where no other RLOC is left."""

    rloc: RlocField
    xtr: str
    drained: bool


def _own(call: Call[NoQuery, None]) -> tuple[IPAddress, str]:
    """The RLOC in the path, and whose it is. Raises Problem (404)."""
    text = call.path["rloc"]
    owners = {entry.rloc: xtr.name for xtr in call.backend.config.xtrs for entry in xtr.rlocs}
    try:
        rloc = ip_address(text)
        return rloc, owners[rloc]
    except (ValueError, KeyError):
        raise unknown("RLOC", text, [str(rloc) for rloc in owners]) from None


def drain(call: Call[NoQuery, None]) -> Reply:
    """Traffic leaves it at once, while it is up; then it can be taken down."""
    rloc, xtr = _own(call)
    actions = call.backend.drain(rloc, call.now)
    return Reply(DrainModel(rloc=rloc, xtr=xtr, drained=True), actions=actions)


def undrain(call: Call[NoQuery, None]) -> Reply:
    """Traffic comes back to it."""
    rloc, xtr = _own(call)
    actions = call.backend.undrain(rloc, call.now)
    return Reply(DrainModel(rloc=rloc, xtr=xtr, drained=False), actions=actions)


ROUTES = (
    Route(
        "PUT",
        "/rlocs/{rloc}/drain",
        "Let traffic leave an RLOC",
        drain,
        TAG,
        response=DrainModel,
        changes=True,
    ),
    Route(
        "DELETE",
        "/rlocs/{rloc}/drain",
        "Let traffic come back to an RLOC",
        undrain,
        TAG,
        response=DrainModel,
        changes=True,
    ),
)
