"""The LISP Canonical Address Formats (RFC 8060, RFC 9306), one class per type."""

from lisp_sdn.wire.afi import MAX_DEPTH, Lcaf, OpaqueLcaf
from lisp_sdn.wire.lcaf.attributes import (
    ApplicationData,
    AsNumber,
    EncapsulationFormat,
    GeoCoordinates,
    NonceLocator,
    SecurityKey,
)
from lisp_sdn.wire.lcaf.lists import (
    AfiList,
    ElpHop,
    ExplicitLocatorPath,
    KeyValue,
    NatTraversal,
    NullBody,
    ReplicationEntry,
    ReplicationList,
)
from lisp_sdn.wire.lcaf.opaque import JsonData, OpaqueKey, VendorSpecific
from lisp_sdn.wire.lcaf.prefixes import InstanceId, MulticastInfo, SourceDestKey

__all__ = [
    "MAX_DEPTH",
    "AfiList",
    "ApplicationData",
    "AsNumber",
    "ElpHop",
    "EncapsulationFormat",
    "ExplicitLocatorPath",
    "GeoCoordinates",
    "InstanceId",
    "JsonData",
    "KeyValue",
    "Lcaf",
    "MulticastInfo",
    "NatTraversal",
    "NonceLocator",
    "NullBody",
    "OpaqueKey",
    "OpaqueLcaf",
    "ReplicationEntry",
    "ReplicationList",
    "SecurityKey",
    "SourceDestKey",
    "VendorSpecific",
]
