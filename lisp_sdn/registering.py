"""The Map-Registers of our own ETRs: signed, and at Map-Servers of others repeated until answered.

RFC 9301 sections 5.6 and 5.7. Every Map-Server gets every register and is heard on its own: one
that is away keeps nothing back from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lisp_sdn.actions import Action, Dropped, Event, MappingChanged, SendControl
from lisp_sdn.address import EidPrefix, Endpoint, IPAddress
from lisp_sdn.config import Config, SiteSettings
from lisp_sdn.errors import AuthError, DecodeError
from lisp_sdn.wire import MapNotify, MapRegister, auth, decode
from lisp_sdn.xtr.requests import Register

WHERE = "etr"
CONTROL_PORT = 4342

FIRST_REPEAT = 1.0
"""Seconds until a Map-Register is repeated; doubled each time."""

REPEATS = 5
"""Repetitions, the last after half a minute; then the next regular Map-Register is due."""

_Key = tuple[str, IPAddress, tuple[object, ...]]


@dataclass(slots=True)
class _Pending:
    """A Map-Register that one Map-Server has not acknowledged. due: of its next repetition."""

    register: Register
    data: bytes
    nonce: int
    due: float
    wait: float = FIRST_REPEAT
    repeats: int = 0


class Registering:
    """Nonces, signatures and repetitions of the Map-Registers of all our ETRs.

    ids: xTR-ID and Site-ID of an xTR by its name.
    """

    def __init__(self, config: Config, ids: Callable[[str, SiteSettings], tuple[int, int]]) -> None:
        self._ids = ids
        self._nonce = 0
        self._pending: dict[_Key, _Pending] = {}
        self._heard: dict[tuple[str, IPAddress], bool] = {}
        self._last: dict[str, int] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go on with the keys and Map-Servers of this configuration."""
        self._config = config
        self._settings = {xtr.name: xtr for xtr in config.xtrs}
        self._servers = {server for xtr in config.xtrs for server in xtr.map_servers}
        asked = {(xtr.name, server) for xtr in config.xtrs for server in xtr.map_servers}
        pending = self._pending.items()
        self._pending = {key: item for key, item in pending if key[:2] in asked}
        self._heard = {key: heard for key, heard in self._heard.items() if key in asked}
        self._names: dict[tuple[int, int], str] | None = None

    @property
    def expects_answers(self) -> bool:
        """Whether any xTR of ours registers with Map-Servers of others."""
        return bool(self._servers)

    def site(self, xtr: str, owner: str | None = None) -> SiteSettings | None:
        """The site that an xTR registers for. owner: whose EIDs they are, if not of its own."""
        return self._config.site(owner or self._settings[xtr].site or "")

    def name_of(self, xtr_id: int | None, site_id: int | None) -> str | None:
        """Which xTR of ours registers under these ids; None for another one."""
        if self._names is None:
            # Host routes are registered for the site of the EID, whatever site the xTR is of.
            self._names = {
                self._ids(name, site): name
                for name in self._settings
                for site in self._config.sites
            }
        return None if xtr_id is None or site_id is None else self._names.get((xtr_id, site_id))

    def message(self, register: Register, now: float, *, want_notify: bool = False) -> bytes:
        """The signed Map-Register. The xTR must have a site."""
        site = self.site(register.xtr, register.site)
        assert site is not None
        # Strictly increasing also across a restart, as long as the clock does not go back.
        self._nonce = max(self._nonce + 1, int(now * 1_000_000))
        self._last[register.xtr] = self._nonce
        xtr_id, site_id = self._ids(register.xtr, site)
        key = site.authentication_keys[0]
        message = MapRegister(
            nonce=self._nonce,
            records=register.records,
            proxy_reply=True,
            merge=register.merge,
            want_notify=want_notify,
            xtr_id=xtr_id,
            site_id=site_id,
        )
        secret = key.key.get_secret_value().encode()
        return auth.sign(message, key.key_id, secret, key.algorithm.number)

    def send(self, register: Register, now: float) -> list[Action]:
        """To every configured Map-Server, until each one has acknowledged it."""
        data = self.message(register, now, want_notify=True)
        eids = tuple(record.eid for record in register.records)
        actions: list[Action] = []
        for server in self._settings[register.xtr].map_servers:
            pending = _Pending(register, data, self._nonce, now + FIRST_REPEAT)
            self._pending[register.xtr, server, eids] = pending
            actions.append(_to(server, data))
        return actions

    # --- answers ---

    def notified(self, data: bytes, source: Endpoint, now: float) -> list[Action]:
        """Handle a Map-Notify of a Map-Server. `source`: where it came from."""
        try:
            message = decode(data)
        except DecodeError as error:
            return [Dropped(WHERE, error.reason, str(error), str(source))]
        assert isinstance(message, MapNotify)
        key = self._asked(message.nonce, source.address)
        if key is None:
            detail = f"Map-Notify with nonce {message.nonce:#x}: no such Map-Register is waiting"
            return [Dropped(WHERE, "unexpected_nonce", detail, str(source))]
        register = self._pending[key].register
        refused = self._forged(message, data, register)
        if refused is not None:
            return [Dropped(WHERE, refused.reason, f"Map-Notify: {refused}", str(source))]
        del self._pending[key]
        records = register.records if register.news else ()
        news = [MappingChanged(r.eid) for r in records if isinstance(r.eid, EidPrefix)]
        return [*self._note(key, heard=True), *news]

    def _asked(self, nonce: int, server: IPAddress) -> _Key | None:
        waiting = self._pending.items()
        return next((k for k, item in waiting if item.nonce == nonce and k[1] == server), None)

    def _forged(self, message: MapNotify, data: bytes, register: Register) -> AuthError | None:
        site = self.site(register.xtr, register.site)
        assert site is not None
        key = site.authentication_keys[0]
        try:
            auth.verify(data, message, key.key.get_secret_value().encode(), key.algorithm.number)
        except AuthError as error:
            return error
        return None

    def _note(self, key: _Key, *, heard: bool) -> list[Action]:
        """Tell when a Map-Server begins to answer, or leaves us without an answer."""
        xtr, server, _ = key
        if self._heard.get((xtr, server)) == heard:
            return []
        self._heard[xtr, server] = heard
        kind = "registration.acknowledged" if heard else "registration.unanswered"
        return [Event(kind, xtr, {"map_server": str(server)})]

    def problems(self, xtr: str) -> Iterable[str]:
        """Map-Servers that an xTR has no answer from, one sentence each."""
        for (name, server), heard in self._heard.items():
            if name == xtr and not heard:
                yield f"Map-Server {server} does not acknowledge its Map-Registers"

    # --- time ---

    def next_timer(self) -> float | None:
        """When `handle_timer` has work to do, epoch seconds."""
        return min((item.due for item in self._pending.values()), default=None)

    def handle_timer(self, now: float) -> list[Action]:
        """Repeat what was not acknowledged."""
        actions: list[Action] = []
        for key, item in list(self._pending.items()):
            if item.due > now:
                continue
            if item.repeats == REPEATS:
                del self._pending[key]
                continue
            if item.nonce != self._last[key[0]]:
                # The Map-Server may have a later register of this ETR, and refuses older nonces.
                item.data = self.message(item.register, now, want_notify=True)
                item.nonce = self._nonce
            item.repeats += 1
            item.wait *= 2
            item.due = now + item.wait
            actions.append(_to(key[1], item.data))
            if item.repeats == REPEATS:
                actions += self._note(key, heard=False)
        return actions


def _to(server: IPAddress, data: bytes) -> SendControl:
    return SendControl(data, Endpoint(server, CONTROL_PORT))
