"""TLS for the REST interface: connections are wrapped when they are accepted, a renewed
certificate is taken up without a restart.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from eventlet.green import ssl as green_ssl

from lisp_sdn.apps.control import ListenError
from lisp_sdn.apps.listening import Listener
from lisp_sdn.apps.log import LOGGER
from lisp_sdn.rest_settings import TlsSettings


class TlsListener(Listener):
    """A listening socket whose accepted connections speak TLS 1.2 or newer.

    The handshake happens with the first octet that is read, in the greenlet that serves the
    connection: a client that never says anything holds up nobody else. Raises ListenError when
    certificate and key cannot be used.
    """

    def __init__(self, socket: Any, settings: TlsSettings) -> None:
        super().__init__(socket, "REST")
        self._settings = settings
        self._files = _state(settings)
        try:
            self._context = _context(settings)
        except (OSError, ssl.SSLError) as error:
            raise ListenError(f"REST: {_sentence(settings, error)}") from None

    def prepare(self, connection: Any) -> Any:
        """The connection under TLS. Raises OSError when its client has given it up."""
        self._renew()
        try:
            return green_ssl.GreenSSLSocket(
                connection,
                server_side=True,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=True,
                _context=self._context,
            )
        except OSError:
            connection.close()
            raise

    def do_handshake(self) -> None:
        """Shows eventlet's server that the scheme is https; connections do it when they read."""

    def _renew(self) -> None:
        """Take up certificate and key when their files have changed; keep the old if they fail."""
        files = _state(self._settings)
        if files == self._files:
            return
        self._files = files
        try:
            self._context = _context(self._settings)
        except (OSError, ssl.SSLError) as error:
            LOGGER.error("REST: %s; the old one stays in use", _sentence(self._settings, error))
        else:
            LOGGER.info("REST: certificate %s was renewed", self._settings.certificate)


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context: ssl.SSLContext = green_ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without a question for a passphrase at the terminal: a daemon cannot answer it.
    context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
    if settings.client_ca is not None:
        context.load_verify_locations(settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _state(settings: TlsSettings) -> tuple[float | None, ...]:
    """When each of the files was written, epoch seconds; None for one that is not there."""
    files = (settings.certificate, settings.key, settings.client_ca)
    return tuple(_written(Path(name)) for name in files if name is not None)


def _written(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _sentence(settings: TlsSettings, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    files = f"certificate {settings.certificate} with key {settings.key}"
    return f"{files} cannot be used: {reason}"
