"""The LISP control sockets: UDP port 4342, IPv4 and IPv6 (RFC 9301 section 5)."""

from __future__ import annotations

import errno
import ipaddress
import socket as constants
import struct
from collections.abc import Callable, Sequence
from typing import Any

import eventlet
from eventlet import hubs, patcher

from lisp_sdn.actions import Dropped, SendControl
from lisp_sdn.address import Endpoint, IPAddress
from lisp_sdn.apps.log import LOGGER
from lisp_sdn.mapping.fastpath import REFUSED, Found

# The sockets of the system, not eventlet's: sending must fail rather than wait.
native = patcher.original("socket")

MAX_DATAGRAM = 65535
RECEIVE_BUFFER = 4 << 20
BATCH = 64
"""Datagrams read before other green threads get their turn."""

_ANCILLARY_ROOM = 64
_IPV6_PKTINFO = struct.Struct("=16sI")
_IPV4_PKTINFO = struct.Struct("=I4s4s")
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


class ListenError(Exception):
    """A socket cannot be had; the text is one line for the operator."""


class ControlSockets:
    """Sends and receives LISP control messages.

    on_datagram: called with octets and source, must not wait. report: for datagrams that could
    not be sent. quick: asked first, with octets and IP version, for an answer that is ready.
    """

    def __init__(
        self,
        on_datagram: Callable[[bytes, Endpoint], None],
        report: Callable[[Dropped], None],
        quick: Callable[[bytes, int], Found | None] = lambda data, version: None,
    ) -> None:
        self._on_datagram = on_datagram
        self._quick = quick
        self._report = report
        self._sockets: list[ControlSocket] = []
        self._receivers: list[Any] = []
        self._answering: ControlSocket | None = None

    def listen(self, endpoints: Sequence[Endpoint]) -> None:
        """Bind all of them, or none. Raises ListenError."""
        try:
            for endpoint in endpoints:
                self._listen(endpoint)
            if not self._sockets:
                raise ListenError("LISP control: nothing to listen on, the host has no IPv6")
        except ListenError:
            self.close()
            raise

    def _listen(self, endpoint: Endpoint) -> None:
        try:
            self._sockets.append(ControlSocket(endpoint))
        except OSError as error:
            if endpoint.address == ipaddress.IPv6Address("::") and error.errno in _NO_IPV6:
                LOGGER.warning("LISP control: no IPv6 on this host, not listening on %s", endpoint)
                return
            raise ListenError(
                f"LISP control: cannot listen on UDP {endpoint}: {error.strerror}"
            ) from None

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where it listens."""
        return [entry.endpoint for entry in self._sockets]

    def start(self) -> None:
        """Begin to receive."""
        self._receivers += [eventlet.spawn(self._receive, entry) for entry in self._sockets]

    def close(self) -> None:
        """Give the ports back."""
        for receiver in self._receivers:
            receiver.kill()
        self._receivers.clear()
        for entry in self._sockets:
            entry.socket.close()
        self._sockets.clear()

    def send(self, action: SendControl) -> None:
        """Send a datagram; while one is being answered, from the address that it came to."""
        version = action.destination.address.version
        entry = self._answering
        if entry is None or entry.version != version:
            entry = next((e for e in self._sockets if e.version == version), None)
        if entry is None:
            self._refuse(f"no_ipv{version}_socket", "", action.destination)
            return
        try:
            entry.send(action.data, action.destination, answering=entry is self._answering)
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "oserror").lower()
            self._refuse(f"send_{reason}", error.strerror or "", action.destination)

    def _refuse(self, reason: str, detail: str, destination: Endpoint) -> None:
        self._report(Dropped("control", reason, f"to {destination} {detail}".rstrip()))

    def _receive(self, entry: ControlSocket) -> None:
        while True:
            hubs.trampoline(entry.socket.fileno(), read=True)
            for _ in range(BATCH):
                received = entry.receive()
                if received is None:
                    break
                self._answering = entry
                try:
                    self._take(entry, *received)
                finally:
                    self._answering = None
            else:
                eventlet.sleep(0)

    def _take(self, entry: ControlSocket, data: bytes, source: tuple[str, int]) -> None:
        found = self._quick(data, entry.version)
        if found is None:
            self._on_datagram(data, Endpoint(_address(source[0]), source[1]))
        elif found is not REFUSED:
            reply, address, port = found
            self.send(SendControl(reply, Endpoint(ipaddress.ip_address(address), port)))


class ControlSocket:
    """One bound UDP socket that knows to which of its addresses the last datagram came.

    Raises OSError.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.version = endpoint.address.version
        family = constants.AF_INET if self.version == 4 else constants.AF_INET6
        self.socket = native.socket(family, constants.SOCK_DGRAM)
        # The number may have been that of a socket that eventlet once waited for.
        hubs.notify_opened(self.socket.fileno())
        self._buffer = bytearray(MAX_DATAGRAM)
        self._came_to: list[tuple[int, int, bytes]] = []
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(constants.SOL_SOCKET, constants.SO_RCVBUF, RECEIVE_BUFFER)
            if self.version == 6:
                self.socket.setsockopt(constants.IPPROTO_IPV6, constants.IPV6_V6ONLY, 1)
                self.socket.setsockopt(constants.IPPROTO_IPV6, constants.IPV6_RECVPKTINFO, 1)
            else:
                self.socket.setsockopt(constants.IPPROTO_IP, _IP_PKTINFO, 1)
            self.socket.bind((str(endpoint.address), endpoint.port))
        except OSError:
            self.socket.close()
            raise
        # The port may have been 0: any.
        self.endpoint = Endpoint(endpoint.address, self.socket.getsockname()[1])

    def receive(self) -> tuple[bytes, tuple[str, int]] | None:
        """The next datagram and its source; None when there is none now."""
        try:
            length, self._came_to, _, source = self.socket.recvmsg_into(
                [self._buffer], _ANCILLARY_ROOM
            )
        except OSError:
            return None
        return bytes(self._buffer[:length]), source[:2]

    def send(self, data: bytes, destination: Endpoint, *, answering: bool) -> None:
        """Send now or not at all. Raises OSError."""
        ancillary = [_reply_from(entry) for entry in self._came_to] if answering else []
        target = (str(destination.address), destination.port)
        self.socket.sendmsg([data], ancillary, 0, target)


_IP_PKTINFO = 8
"""Of linux/in.h; Python's socket module has the name only from 3.14 on."""


def _reply_from(entry: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """The ancillary data that makes the address a datagram came to the source of its answer.

    The interface is left to routing: the way back may be another one.
    """
    level, kind, data = entry
    if level == constants.IPPROTO_IP and kind == _IP_PKTINFO:
        _, local, _ = _IPV4_PKTINFO.unpack(data)
        return level, kind, _IPV4_PKTINFO.pack(0, local, bytes(4))
    address, _ = _IPV6_PKTINFO.unpack(data)
    return level, kind, _IPV6_PKTINFO.pack(address, 0)


def _address(text: str) -> IPAddress:
    return ipaddress.ip_address(text.partition("%")[0])
