"""What the edges are configured with: ryu-manager's options and our own configuration file."""

from __future__ import annotations

from pathlib import Path

from ryu import cfg

from lisp_sdn import config
from lisp_sdn.address import Endpoint
from lisp_sdn.config import Config
from lisp_sdn.errors import ConfigError

OPENFLOW_PORT = 6653
ECHO_INTERVAL = 5.0
MAX_UNANSWERED_ECHOS = 3

GROUP = "lisp_sdn"
_OPTIONS = [
    cfg.StrOpt("config", default=None, help="path of the YAML configuration of lisp_sdn"),
]


def register() -> None:
    """Make `[lisp_sdn] config` known, and set defaults that an operator can still override."""
    options = cfg.CONF
    options.register_opts(_OPTIONS, group=GROUP)
    # Ryu would listen on 6633 as well, the port of before OpenFlow had one of its own.
    options.set_default("ofp_tcp_listen_port", OPENFLOW_PORT)
    # Off by default in Ryu: a switch whose link died would stay "connected" for hours.
    options.set_default("echo_request_interval", ECHO_INTERVAL)
    options.set_default("maximum_unreplied_echo_requests", MAX_UNANSWERED_ECHOS)


def load() -> Config:
    """The configuration that ryu-manager was pointed to; the empty one otherwise.

    Raises ConfigError with every mistake.
    """
    if not cfg.CONF[GROUP].config:
        return Config()
    path, text = read()
    return config.load(text, path)


def read() -> tuple[str, str]:
    """The path and the text of the configuration. Raises ConfigError."""
    path = cfg.CONF[GROUP].config
    if not path:
        message = "the controller was started without a configuration file"
        raise ConfigError("configuration", [("(file)", message)])
    try:
        return path, Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError(path, [("(file)", f"cannot be read: {reason}")]) from None


def openflow_endpoint() -> tuple[str, int]:
    """Where Ryu will listen for switches: host and TCP port, TLS or not."""
    options = cfg.CONF
    tls = options.ctl_privkey is not None and options.ctl_cert is not None
    port = options.ofp_ssl_listen_port if tls else options.ofp_tcp_listen_port
    return options.ofp_listen_host, int(port or OPENFLOW_PORT)


def describe(endpoints: list[Endpoint]) -> str:
    """Endpoints as a person writes a list."""
    return " and ".join(str(endpoint) for endpoint in endpoints)
