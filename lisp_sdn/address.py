"""Addresses and EID-prefixes as values, and their one text form (RFC 9300 section 3, RFC 8060).

Text forms, the same in YAML, REST, CLI and logs:

    10.0.0.0/24            EID-prefix, instance-ID 0; "ipv4:10.0.0.0/24" is read too
    [223] 10.0.0.0/24      EID-prefix in instance-ID 223
    [223] 10.0.0.1         host EID: a /32 or /128
    srcdst:A|B             source and destination EID-prefix

The forms of all other addresses are in `lisp_sdn.wire.text`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import total_ordering
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from lisp_sdn.errors import FieldError
from lisp_sdn.unchecked import unchecked

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAX_IID = 0xFFFFFF
"""Instance-IDs are 24 bits in the data header (RFC 9300 section 5.3)."""

_IID_TEXT = re.compile(r"^\[(\d{1,10})\]\s*(.*)$")


# The constructors of `ipaddress` check, at several times the cost of the object itself, what a
# 32- or 128-bit field cannot violate. What follows builds the same objects without the checks;
# a test compares them with constructed ones, attribute by attribute.

_new: Callable[..., Any] = object.__new__
_MASKS4: list[Any] = [IPv4Network((0, length)).netmask for length in range(33)]
_MASKS6: list[Any] = [IPv6Network((0, length)).netmask for length in range(129)]


def ipv4(value: int) -> IPv4Address:
    """The IPv4Address of 32 bits that are already known to fit."""
    address = _new(IPv4Address)
    address._ip = value
    return address  # type: ignore[no-any-return]


def ipv6(value: int) -> IPv6Address:
    """The IPv6Address of 128 bits that are already known to fit."""
    address = _new(IPv6Address)
    address._ip = value
    address._scope_id = None
    return address  # type: ignore[no-any-return]


class Address:
    """Base of every locator or EID address that is not a plain IPv4 or IPv6 address.

    The classes live in `lisp_sdn.wire` (MAC, distinguished name, the LCAFs of RFC 8060); the
    brain only stores them, compares them and hands them back.
    """

    __slots__ = ()

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """The place in an RLOC-set: after IP, by {AFI, LCAF type} (RFC 8060 section 3)."""
        return (0x10000, 0, str(self))


AnyAddress = IPAddress | Address


@total_ordering
@dataclass(frozen=True, slots=True)
class EidPrefix:
    """An EID-prefix in an instance-ID; the key of map-cache and mapping database.

    iid: 0..2**24-1. network: IPv4Network or IPv6Network, without host bits.
    Raises FieldError.
    """

    iid: int
    network: IPNetwork
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.iid <= MAX_IID:
            raise FieldError("iid", self.iid, f"0..{MAX_IID}")
        if not isinstance(self.network, IPv4Network | IPv6Network):
            raise FieldError("network", self.network, "an IPv4 or IPv6 network")
        network = self.network
        key = (self.iid, int(network.network_address), network.prefixlen)
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: EidPrefix) -> bool:
        return self.sort_key < other.sort_key

    @property
    def sort_key(self) -> tuple[int, int, int, int]:
        """Order: instance-ID, family, address, length."""
        net = self.network
        return (self.iid, net.version, int(net.network_address), net.prefixlen)

    @classmethod
    def trusted(cls, iid: int, version: int, value: int, prefixlen: int) -> EidPrefix:
        """The prefix of values that are already in range: the decoder's way, without checks.

        value: the address as an integer, host bits may be set and are cleared.
        """
        if version == 4:
            mask = _MASKS4[prefixlen]
            value &= mask._ip
            network = _new(IPv4Network)
            network.network_address = address = _new(IPv4Address)
            address._ip = value
            network.netmask = mask
            network._prefixlen = prefixlen
            if prefixlen >= 31:
                network.hosts = [address].copy if prefixlen == 32 else network.__iter__
        else:
            mask = _MASKS6[prefixlen]
            value &= mask._ip
            network = _new(IPv6Network)
            network.network_address = address = ipv6(value)
            network.netmask = mask
            network._prefixlen = prefixlen
            if prefixlen >= 127:
                network.hosts = [address].copy if prefixlen == 128 else network.__iter__
        return _eid_prefix(iid, network, hash((iid, value, prefixlen)))

    @classmethod
    def host(cls, iid: int, address: IPAddress) -> EidPrefix:
        """The /32 or /128 of one EID."""
        return cls(iid, ipaddress.ip_network(address))

    @classmethod
    def from_text(cls, text: str, *, default_iid: int = 0) -> EidPrefix:
        """Parse "[iid] prefix"; host bits are an error, never silently dropped."""
        match = _IID_TEXT.match(text.strip())
        iid, rest = (int(match[1]), match[2]) if match else (default_iid, text.strip())
        family, _, plain = rest.partition(":")
        try:
            if family == "ipv4":
                network: IPNetwork = IPv4Network(plain)
            elif family == "ipv6":
                network = IPv6Network(plain)
            else:
                network = ipaddress.ip_network(rest)
        except ValueError as error:
            raise FieldError("eid_prefix", text, f"[IID] ADDRESS/LENGTH ({error})") from None
        return cls(iid, network)

    def to_text(self) -> str:
        """The text form; `from_text` reads it back."""
        return f"[{self.iid}] {self.network}" if self.iid else str(self.network)

    def __str__(self) -> str:
        return self.to_text()

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.network.version

    @property
    def prefixlen(self) -> int:
        """Mask length in bits of the inner prefix; the instance-ID is not counted (Q-23)."""
        return self.network.prefixlen

    @property
    def is_host(self) -> bool:
        """Whether this is a single EID."""
        return self.network.prefixlen == self.network.max_prefixlen

    def covers(self, other: EidPrefix) -> bool:
        """Whether every EID of `other` is one of ours."""
        return (
            self.iid == other.iid
            and self.version == other.version
            and self.prefixlen <= other.prefixlen
            and (int(other.network.network_address) >> self._shift)
            == (int(self.network.network_address) >> self._shift)
        )

    def contains(self, address: IPAddress) -> bool:
        """Whether `address`, taken in our instance-ID, is one of our EIDs."""
        return address.version == self.version and (int(address) >> self._shift) == (
            int(self.network.network_address) >> self._shift
        )

    @property
    def _shift(self) -> int:
        return self.network.max_prefixlen - self.network.prefixlen


_eid_prefix = unchecked(EidPrefix)


@dataclass(frozen=True, slots=True)
class SourceDestPrefix:
    """A (source, destination) key, RFC 8060 section 4.12; text form "srcdst:A|B".

    Both prefixes are in the same instance-ID. Raises FieldError.
    """

    source: EidPrefix
    destination: EidPrefix

    def __post_init__(self) -> None:
        if self.source.iid != self.destination.iid:
            raise FieldError("source.iid", self.source.iid, f"{self.destination.iid}")

    @classmethod
    def from_text(cls, text: str, *, default_iid: int = 0) -> SourceDestPrefix:
        """Parse "srcdst:A|B", both parts EID-prefixes. Raises FieldError."""
        parts = text.strip().removeprefix("srcdst:").split("|")
        if len(parts) != 2 or not text.strip().startswith("srcdst:"):
            raise FieldError("source_dest_prefix", text, "srcdst:SOURCE|DESTINATION")
        source, destination = (EidPrefix.from_text(part, default_iid=default_iid) for part in parts)
        return cls(source, destination)

    def to_text(self) -> str:
        """The text form "srcdst:A|B"."""
        return f"srcdst:{self.source.to_text()}|{self.destination.to_text()}"

    def __str__(self) -> str:
        return self.to_text()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A UDP endpoint. port: 0..65535."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"
