"""The text forms of addresses and EIDs, read back: the same in YAML, REST, CLI and logs.

    192.0.2.1  2001:db8::1  ipv4:192.0.2.1  none  mac:02:00:00:00:00:01  dn:router-1
    [223] 10.0.0.1          an address in an instance
    elp:{192.0.2.1(lps)->192.0.2.2}
    NAME:{...}              the other LCAFs; the class of each shows its form
    10.0.0.0/24  [223] 10.0.0.0/24  srcdst:A|B  mac:02:00:00:00:00:01/48      EIDs

`str` of an address or an EID prints its form; of a `SecurityKey` it hides the keys, `to_text`
shows them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from lisp_sdn.address import Address, AnyAddress, EidPrefix, IPAddress, SourceDestPrefix
from lisp_sdn.errors import FieldError
from lisp_sdn.wire.afi import NO_ADDRESS, DistinguishedName, MacAddress, OpaqueLcaf, WireAddress
from lisp_sdn.wire.eid import Eid, OtherEid
from lisp_sdn.wire.lcaf import (
    AfiList,
    ApplicationData,
    AsNumber,
    ElpHop,
    EncapsulationFormat,
    ExplicitLocatorPath,
    GeoCoordinates,
    InstanceId,
    JsonData,
    KeyValue,
    MulticastInfo,
    NatTraversal,
    NonceLocator,
    NullBody,
    OpaqueKey,
    ReplicationEntry,
    ReplicationList,
    SecurityKey,
    SourceDestKey,
    VendorSpecific,
)

_MAX_NESTING = 24
_INSTANCE = re.compile(r"^\[(\d{1,10})(?:/(\d{1,2}))?\]\s*(.+)$", re.DOTALL)
_HOP = re.compile(r"^(.*?)(?:\(([lps]+)\))?$", re.DOTALL)
_ANGLE = re.compile(r"^(\d{1,3})-(\d{1,2})-(\d{1,2})-([NSEW])$")
_MAC = re.compile(r"^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$")


def address_from_text(text: str) -> AnyAddress:
    """The address that a text form stands for. Raises FieldError."""
    return _address(text.strip(), text, 0)


def address_to_text(address: AnyAddress) -> str:
    """The text form of any address."""
    return address.to_text() if isinstance(address, WireAddress) else str(address)


def eid_from_text(text: str) -> Eid:
    """The EID that a text form stands for. Raises FieldError.

    Without a mask length an address stands for a single EID: all 48 bits of a MAC address, 0
    where bits mean nothing.
    """
    plain = text.strip()
    if plain.startswith("srcdst:"):
        return SourceDestPrefix.from_text(plain)
    try:
        return EidPrefix.from_text(plain)
    except FieldError:
        if not _is_form(plain):
            raise
    body, slash, mask = plain.rpartition("/")
    if slash and mask.isdecimal() and len(mask) <= 3:
        address, mask_len = address_from_text(body), int(mask)
    else:
        address = address_from_text(plain)
        mask_len = 48 if isinstance(address, MacAddress) else 0
    if isinstance(address, WireAddress):
        return OtherEid(address, mask_len)
    raise FieldError("eid", text, "an EID: PREFIX/LENGTH, srcdst:A|B or an address")


def _is_form(text: str) -> bool:
    """Whether a text is that of an address, not a mistaken EID-prefix."""
    match = _INSTANCE.match(text)
    if match:
        return bool(match[2]) or _is_form(match[3])
    name = re.split("[:/]", text, maxsplit=1)[0]
    return text.startswith("{") or name in _FORMS or name in ("none", "null")


def eid_to_text(eid: Eid) -> str:
    """The text form of any EID."""
    return eid.to_text()


def _address(text: str, whole: str, level: int) -> AnyAddress:
    if level > _MAX_NESTING:
        raise FieldError("address", whole[:60], f"at most {_MAX_NESTING} levels")
    if text.startswith("{") and text.endswith("}"):
        return _address(text[1:-1].strip(), whole, level + 1)
    if text == "none":
        return NO_ADDRESS
    if text == "null":
        return NullBody()
    match = _INSTANCE.match(text)
    if match:
        mask = int(match[2] or 0)
        return InstanceId(int(match[1]), _address(match[3], whole, level + 1), mask)
    name, _, rest = text.partition(":")
    if name in _FORMS:
        form = _Form(rest, whole, level)
        try:
            return _FORMS[name](form)
        except FieldError:
            raise
        except (ValueError, IndexError, KeyError):
            raise form.wrong() from None
    try:
        if name == "ipv4":
            return ipaddress.IPv4Address(rest)
        if name == "ipv6":
            return _plain(ipaddress.IPv6Address(rest))
        return _plain(ipaddress.ip_address(text))
    except ValueError:
        raise FieldError("address", whole, "an address (see lisp_sdn.wire.text)") from None


def _plain(address: IPAddress) -> IPAddress:
    if getattr(address, "scope_id", None) is not None:
        raise ValueError("zone")
    return address


def split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand outside of braces."""
    parts, level, start, at = [], 0, 0, 0
    while at < len(text):
        if text[at] == "{":
            level += 1
        elif text[at] == "}":
            level -= 1
        elif not level and text.startswith(separator, at):
            parts.append(text[start:at])
            at = start = at + len(separator)
            continue
        at += 1
    parts.append(text[start:])
    return [part.strip() for part in parts]


class _Form:
    """The part of a text form behind its name, while it is taken apart."""

    def __init__(self, rest: str, whole: str, level: int) -> None:
        self.rest = rest
        self.whole = whole
        self.level = level

    def wrong(self) -> FieldError:
        return FieldError("address", self.whole, "an address (see lisp_sdn.wire.text)")

    def items(self, separator: str = ",") -> list[str]:
        """What stands between the braces; empty braces hold nothing."""
        if not (self.rest.startswith("{") and self.rest.endswith("}")):
            raise self.wrong()
        body = self.rest[1:-1].strip()
        return split(body, separator) if body else []

    def exactly(self, count: int) -> list[str]:
        items = self.items()
        if len(items) != count:
            raise self.wrong()
        return items

    def address(self, text: str) -> AnyAddress:
        return _address(text, self.whole, self.level + 1)

    def addresses(self, texts: list[str]) -> tuple[AnyAddress, ...]:
        return tuple(self.address(text) for text in texts)

    def masked(self, text: str) -> tuple[AnyAddress, int]:
        address, _, mask = text.rpartition("/")
        return self.address(address), int(mask)

    def value(self, text: str, name: str) -> str:
        """The value of "name=value"."""
        have, equals, value = text.partition("=")
        if have.strip() != name or not equals:
            raise self.wrong()
        return value


def _mac(form: _Form) -> Address:
    if not _MAC.match(form.rest):
        raise form.wrong()
    return MacAddress(bytes.fromhex(form.rest.replace(":", "").replace("-", "")))


def _name(form: _Form) -> Address:
    return DistinguishedName(re.sub("%([0-9a-f]{2})", lambda m: chr(int(m[1], 16)), form.rest))


def _srcdst(form: _Form) -> Address:
    source, destination = split(form.rest, "|")
    return SourceDestKey(*form.masked(source), *form.masked(destination))


def _multicast(form: _Form) -> Address:
    iid, source, group = form.exactly(3)
    return MulticastInfo(int(form.value(iid, "iid")), *form.masked(source), *form.masked(group))


def _application(form: _Form) -> Address:
    tos, protocol, local, remote, address = form.exactly(5)
    low, high = form.value(local, "local").split("-")
    far_low, far_high = form.value(remote, "remote").split("-")
    return ApplicationData(
        form.address(address),
        int(form.value(tos, "tos")),
        int(form.value(protocol, "protocol")),
        (int(low), int(high)),
        (int(far_low), int(far_high)),
    )


def _angle(form: _Form, text: str, letters: str) -> tuple[tuple[int, int, int], bool]:
    match = _ANGLE.match(text)
    if not match or match[4] not in letters:
        raise form.wrong()
    return (int(match[1]), int(match[2]), int(match[3])), match[4] == letters[0]


def _geo(form: _Form) -> Address:
    latitude, longitude, altitude, address = form.exactly(4)
    return GeoCoordinates(
        *_angle(form, latitude, "NS"),
        *_angle(form, longitude, "EW"),
        None if altitude == "-" else int(altitude),
        form.address(address),
    )


def _opaque_key(form: _Form) -> Address:
    fields, wildcards, key = form.exactly(3)
    return OpaqueKey(
        bytes.fromhex(form.value(key, "key")),
        int(form.value(fields, "fields")),
        int(form.value(wildcards, "wildcards")),
    )


def _nat(form: _Form) -> Address:
    ms_port, etr_port, *rest = form.items()
    one, two, three, *rtrs = form.addresses(rest)
    return NatTraversal(
        int(form.value(ms_port, "ms-port")),
        int(form.value(etr_port, "etr-port")),
        one,
        two,
        three,
        tuple(rtrs),
    )


def _elp(form: _Form) -> Address:
    hops = []
    for text in form.items("->"):
        match = _HOP.match(text)
        assert match
        flags = match[2] or ""
        hops.append(ElpHop(form.address(match[1]), "l" in flags, "p" in flags, "s" in flags))
    return ExplicitLocatorPath(tuple(hops))


def _rle(form: _Form) -> Address:
    entries = []
    for text in form.items():
        address, _, level = text.rpartition("@")
        entries.append(ReplicationEntry(form.address(address), int(level)))
    return ReplicationList(tuple(entries))


def _key(form: _Form) -> Address:
    algorithm, revoked, keys, address = form.exactly(4)
    return SecurityKey(
        form.address(address),
        tuple(_hexadecimal(form, key) for key in _several(form.value(keys, "keys"))),
        int(form.value(algorithm, "algorithm")),
        bool(int(form.value(revoked, "revoked"))),
    )


def _hexadecimal(form: _Form, text: str) -> bytes:
    if not text.startswith("0x"):
        raise form.wrong()
    return bytes.fromhex(text[2:])


def _several(text: str) -> list[str]:
    return text.split("+") if text else []


def _json(form: _Form, binary: bool) -> Address:
    address, data = form.exactly(2)
    return JsonData(bytes.fromhex(data), form.address(address), binary)


def _encapsulation(form: _Form) -> Address:
    names, address = form.exactly(2)
    return EncapsulationFormat(frozenset(_several(names)), form.address(address))


def _vendor(form: _Form) -> Address:
    oui, data = form.exactly(2)
    return VendorSpecific(int(form.value(oui, "oui"), 16), bytes.fromhex(form.value(data, "data")))


def _opaque(form: _Form) -> Address:
    fields = dict(item.split("=") for item in form.items())
    data = bytes.fromhex(fields.pop("data"))
    number = int(fields.pop("type"))
    numbers = {name: int(fields.pop(name, "0")) for name in ("flags", "rsvd1", "reserved")}
    if fields:
        raise form.wrong()
    return OpaqueLcaf(number, data, **numbers)


def _numbered(cls: Callable[[int, AnyAddress], Address]) -> Callable[[_Form], Address]:
    def parse(form: _Form) -> Address:
        number, address = form.exactly(2)
        return cls(int(number), form.address(address))

    return parse


_FORMS: dict[str, Callable[[_Form], AnyAddress]] = {
    "mac": _mac,
    "dn": _name,
    "srcdst": _srcdst,
    "mcast": _multicast,
    "list": lambda form: AfiList(form.addresses(form.items())),
    "as": _numbered(AsNumber),
    "app": _application,
    "geo": _geo,
    "opaque-key": _opaque_key,
    "nat": _nat,
    "nonce": _numbered(NonceLocator),
    "elp": _elp,
    "rle": _rle,
    "key": _key,
    "json": lambda form: _json(form, binary=False),
    "json-binary": lambda form: _json(form, binary=True),
    "kv": lambda form: KeyValue(*form.addresses(form.exactly(2))),
    "encap": _encapsulation,
    "vendor": _vendor,
    "lcaf": _opaque,
}
