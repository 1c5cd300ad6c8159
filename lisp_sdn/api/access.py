"""Who may do what: access tokens (RFC 6750) and their roles."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from lisp_sdn.address import EidPrefix
from lisp_sdn.api.http import Problem, Request
from lisp_sdn.api.routing import Route
from lisp_sdn.config import Config
from lisp_sdn.errors import FieldError
from lisp_sdn.rest_settings import AccessToken, Role

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="lisp_sdn"'}


def identify(request: Request, config: Config) -> AccessToken | None:
    """Whose token a request carries; None when none is configured. Raises Problem (401, 403)."""
    tokens = config.rest.tokens
    if not tokens:
        _check_host(request.header("Host"))
        return None
    scheme, _, given = (request.header("Authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise Problem(
            "unauthorized", "send a token: Authorization: Bearer TOKEN", headers=_CHALLENGE
        )
    # Every token is compared, and as a digest: the time tells neither which nor how much fits.
    wanted = _digest(given.strip())
    found = [t for t in tokens if hmac.compare_digest(_digest(t.token.get_secret_value()), wanted)]
    if not found:
        raise Problem("unauthorized", "this token is not known", headers=_CHALLENGE)
    return found[0]


def _check_host(host: str | None) -> None:
    """Without tokens, the interface is addressed by address or as localhost.

    Else a web page could have its own name resolve to the loopback and use the browser of an
    operator to change mappings (DNS rebinding).
    """
    if host is None:
        return
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name != "localhost":
            ipaddress.ip_address(name)
    except ValueError:
        raise Problem(
            "forbidden",
            f"Host: {host[:100]}; without tokens use an address or localhost, or configure "
            "rest.tokens",
        ) from None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def check_role(
    token: AccessToken | None, route: Route, path: dict[str, str], iid: int | None, config: Config
) -> None:
    """Whether a route may be used. iid: of the query. Raises Problem (403)."""
    if token is None or not route.changes or token.role is Role.OPERATOR:
        return
    if token.role is Role.SITE and _site(route, path, iid, config) == token.site:
        return
    what = "look" if token.role is Role.READ_ONLY else f"change what is of site {token.site}"
    raise Problem("forbidden", f"token {token.name} may only {what}")


def _site(route: Route, path: dict[str, str], iid: int | None, config: Config) -> str | None:
    """The site whose part a route changes; None when it is more than one site's."""
    if route.template == "/policies/{name}":
        return path["name"]
    if route.template != "/mappings/{eid}":
        return None
    try:
        eid = EidPrefix.from_text(path["eid"], default_iid=iid or 0)
    except FieldError:
        return None
    owners = [
        (entry.eid.prefixlen, site.name)
        for site in config.sites
        for entry in site.eid_prefixes
        if entry.eid.covers(eid)
    ]
    return max(owners)[1] if owners else None
