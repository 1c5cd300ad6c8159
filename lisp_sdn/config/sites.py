"""Sites as the Map-Server knows them, and mappings that are configured."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from lisp_sdn.address import EidPrefix
from lisp_sdn.errors import FieldError
from lisp_sdn.model import Act, Locator, Mapping
from lisp_sdn.settings import AddressField, Iid, Name, NetworkField, Octet, Settings


class Algorithm(StrEnum):
    """Algorithm IDs of RFC 9301 section 12.5, by name."""

    HMAC_SHA_1_96 = "hmac-sha-1-96"
    HMAC_SHA_256_128 = "hmac-sha-256-128"
    HMAC_SHA_256_128_HKDF = "hmac-sha256-128+hkdf-sha256"

    @property
    def number(self) -> int:
        """The Algorithm ID on the wire: 1, 2 or 3."""
        return list(Algorithm).index(self) + 1


class AuthenticationKey(Settings):
    """A shared secret of a site. Two may be live at once while keys are rolled over.

    key_id: the Key ID in the Map-Register. key: the secret itself. algorithm: of the authentication
    data.
    """

    key_id: Octet = 1
    key: SecretStr = Field(min_length=1)
    algorithm: Algorithm = Algorithm.HMAC_SHA_256_128_HKDF


class NonceCheck(StrEnum):
    """How the nonce of a Map-Register is judged (RFC 9301 section 5.6, peers that differ)."""

    STRICTLY_INCREASING = "strictly-increasing"
    NOT_SEEN = "not-seen"
    OFF = "off"


class EidPrefixSettings(Settings):
    """An EID-prefix that a site may register.

    prefix: the EID-prefix. iid: its instance-ID. accept_more_specifics: whether longer prefixes
    inside of it may be registered too. max_more_specifics: how many of them at most.
    unregistered_action: what an ITR is told while nobody has registered it.
    """

    prefix: NetworkField
    iid: Iid = 0
    accept_more_specifics: bool = False
    max_more_specifics: int = Field(default=10_000, ge=0)
    unregistered_action: Literal["natively-forward", "drop-no-reason"] = "natively-forward"

    @property
    def eid(self) -> EidPrefix:
        """As a value."""
        return EidPrefix(self.iid, self.prefix)


class SiteSettings(Settings):
    """A LISP site as the Map-Server knows it (RFC 9301 section 8.2).

    name: of the site. authentication_keys: one, or two during a roll-over. eid_prefixes: what it
    may register. proxy_reply: answer Map-Requests for it even if its ETRs do not ask for that.
    allowed_rlocs: prefixes in which its RLOCs must lie; none: any. allowed_algorithms: of its
    Map-Registers. nonce_check: how replayed Map-Registers are recognised. mac_length: octets of the
    authentication data that are sent to it, of HMAC-SHA-256-128. legacy_actions: it does not know
    action codes above 3. max_registrations: at most. shutdown: refuse all of its Map-Registers.
    """

    name: Name
    authentication_keys: tuple[AuthenticationKey, ...] = Field(min_length=1, max_length=2)
    eid_prefixes: tuple[EidPrefixSettings, ...] = ()
    proxy_reply: bool = False
    allowed_rlocs: tuple[NetworkField, ...] = ()
    allowed_algorithms: tuple[Algorithm, ...] = (
        Algorithm.HMAC_SHA_256_128,
        Algorithm.HMAC_SHA_256_128_HKDF,
    )
    nonce_check: NonceCheck = NonceCheck.STRICTLY_INCREASING
    mac_length: Literal["truncated", "full"] = "truncated"
    legacy_actions: bool = False
    max_registrations: int = Field(default=1_000_000, ge=1)
    shutdown: bool = False


class LocatorSettings(Settings):
    """One RLOC with its priority and weight.

    rloc: its address. priority: the lowest is used, 255 never. weight: its share of the traffic
    among RLOCs of one priority.
    """

    rloc: AddressField
    priority: Octet = 1
    weight: Octet = 100

    @property
    def locator(self) -> Locator:
        """As a value."""
        return Locator(self.rloc, self.priority, self.weight)


class StaticMapping(Settings):
    """A mapping that is configured instead of registered.

    eid_prefix: the EID-prefix. iid: its instance-ID. locators: its RLOC-set; none: a negative
    mapping. ttl_minutes: how long an ITR may use it. action: what ITRs do without locators.
    """

    eid_prefix: NetworkField
    iid: Iid = 0
    locators: tuple[LocatorSettings, ...] = ()
    ttl_minutes: int = Field(default=1440, ge=0, le=0xFFFFFFFF)
    action: str = Act.NO_ACTION.text

    @model_validator(mode="after")
    def _check_action(self) -> StaticMapping:
        try:
            act = Act.from_text(self.action)
        except FieldError as error:
            raise ValueError(str(error)) from None
        if self.locators and act is not Act.NO_ACTION:
            raise ValueError(f"action: {self.action!r} beside locators, expected no-action")
        return self

    @property
    def eid(self) -> EidPrefix:
        """What it is for."""
        return EidPrefix(self.iid, self.eid_prefix)

    @property
    def mapping(self) -> Mapping:
        """As a value."""
        return Mapping(
            self.eid,
            ttl_minutes=self.ttl_minutes,
            action=Act.from_text(self.action),
        ).with_locators(tuple(entry.locator for entry in self.locators))
