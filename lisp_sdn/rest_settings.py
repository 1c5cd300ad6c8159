"""The REST interface in the configuration: where it listens, and who may do what."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from enum import StrEnum

from pydantic import Field, SecretStr, model_validator

from lisp_sdn.address import Endpoint
from lisp_sdn.settings import EndpointField, Name, Problem, Settings

MIN_TOKEN = 16
"""Characters of an access token, at least."""


class Role(StrEnum):
    """What the owner of a token may do: look, change everything, or change one site's part."""

    READ_ONLY = "read-only"
    OPERATOR = "operator"
    SITE = "site"


class AccessToken(Settings):
    """A secret that a REST client sends as "Authorization: Bearer TOKEN".

    name: shown in the history instead of the token. token: the secret. role: read-only looks,
    operator changes everything, site changes the part of its site. site: whose policy and static
    mappings the role "site" may change; everything may be looked at.
    """

    name: Name
    token: SecretStr = Field(min_length=MIN_TOKEN)
    role: Role = Role.READ_ONLY
    site: Name | None = None

    @model_validator(mode="after")
    def _check(self) -> AccessToken:
        if (self.role is Role.SITE) is not (self.site is not None):
            raise ValueError(
                f"site: {self.site!r} beside role {self.role.value}, "
                "expected a site with role site and only there"
            )
        return self


class TlsSettings(Settings):
    """TLS of the REST interface. A renewed certificate is taken up by itself.

    certificate: PEM file, with the chain. key: PEM file of its private key. client_ca: only clients
    with a certificate of this authority may connect.
    """

    certificate: str = Field(min_length=1)
    key: str = Field(min_length=1)
    client_ca: str | None = Field(default=None, min_length=1)


class RestSettings(Settings):
    """The REST interface. Without tokens everybody who reaches it may do everything.

    listen: one endpoint; another address than loopback needs tokens. tokens: who may do what. tls:
    https.
    """

    listen: EndpointField = Endpoint(ipaddress.IPv4Address("127.0.0.1"), 8080)
    tokens: tuple[AccessToken, ...] = Field(default=(), max_length=1000)
    tls: TlsSettings | None = None

    @property
    def scheme(self) -> str:
        """ "https" with TLS, "http" without."""
        return "http" if self.tls is None else "https"


def check_rest(rest: RestSettings, sites: Sequence[str]) -> Iterator[Problem]:
    """What the fields alone cannot show."""
    if not rest.tokens and not rest.listen.address.is_loopback:
        yield "rest.tokens", f"missing; listening on {rest.listen} needs at least one token"
    names = [token.name for token in rest.tokens]
    secrets = [token.token.get_secret_value() for token in rest.tokens]
    for index, token in enumerate(rest.tokens):
        path = f"rest.tokens[{index}]"
        if names.index(token.name) != index:
            yield (
                f"{path}.name",
                f"{token.name!r} is already rest.tokens[{names.index(token.name)}]",
            )
        if secrets.index(secrets[index]) != index:
            yield f"{path}.token", f"the same as that of {names[secrets.index(secrets[index])]!r}"
        if token.site is not None and token.site not in sites:
            known = ", ".join(sites) or "none"
            yield f"{path}.site", f"{token.site!r} is not a site; configured: {known}"
