"""LISP control messages and data headers: bytes to values and back (RFC 9301, 9300, 9305, 8060).

from lisp_sdn.wire import decode
message = decode(datagram)          # raises DecodeError only
datagram = message.serialize()
"""

from lisp_sdn.wire import auth
from lisp_sdn.wire.afi import (
    NO_ADDRESS,
    DistinguishedName,
    MacAddress,
    NoAddress,
    WireAddress,
    parse_address,
    serialize_address,
)
from lisp_sdn.wire.codec import decode
from lisp_sdn.wire.cursor import Reader
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
    Lcaf,
    MulticastInfo,
    NatTraversal,
    NonceLocator,
    NullBody,
    OpaqueKey,
    OpaqueLcaf,
    ReplicationEntry,
    ReplicationList,
    SecurityKey,
    SourceDestKey,
    VendorSpecific,
)
from lisp_sdn.wire.messages.base import Message, MessageType
from lisp_sdn.wire.messages.ecm import Ecm
from lisp_sdn.wire.messages.info import InfoReply, InfoRequest
from lisp_sdn.wire.messages.other import SharedExtension, UnknownMessage
from lisp_sdn.wire.messages.referral import (
    MapReferral,
    ReferralAct,
    ReferralRecord,
    ReferralSignature,
)
from lisp_sdn.wire.messages.register import MapNotify, MapNotifyAck, MapRegister
from lisp_sdn.wire.messages.reply import MapReply
from lisp_sdn.wire.messages.request import MapRequest
from lisp_sdn.wire.record import EidRecord, RequestRecord
from lisp_sdn.wire.security import (
    EcmSecurity,
    EidAuthentication,
    MapReplySecurity,
    ProtectedEids,
)
from lisp_sdn.wire.text import address_from_text, address_to_text, eid_from_text, eid_to_text
from lisp_sdn.wire.understood import ip_of, understood

__all__ = [
    "NO_ADDRESS",
    "AfiList",
    "ApplicationData",
    "AsNumber",
    "DistinguishedName",
    "Ecm",
    "EcmSecurity",
    "Eid",
    "EidAuthentication",
    "EidRecord",
    "ElpHop",
    "EncapsulationFormat",
    "ExplicitLocatorPath",
    "GeoCoordinates",
    "InfoReply",
    "InfoRequest",
    "InstanceId",
    "JsonData",
    "KeyValue",
    "Lcaf",
    "MacAddress",
    "MapNotify",
    "MapNotifyAck",
    "MapReferral",
    "MapRegister",
    "MapReply",
    "MapReplySecurity",
    "MapRequest",
    "Message",
    "MessageType",
    "MulticastInfo",
    "NatTraversal",
    "NoAddress",
    "NonceLocator",
    "NullBody",
    "OpaqueKey",
    "OpaqueLcaf",
    "OtherEid",
    "ProtectedEids",
    "Reader",
    "ReferralAct",
    "ReferralRecord",
    "ReferralSignature",
    "ReplicationEntry",
    "ReplicationList",
    "RequestRecord",
    "SecurityKey",
    "SharedExtension",
    "SourceDestKey",
    "UnknownMessage",
    "VendorSpecific",
    "WireAddress",
    "address_from_text",
    "address_to_text",
    "auth",
    "decode",
    "eid_from_text",
    "eid_to_text",
    "ip_of",
    "parse_address",
    "serialize_address",
    "understood",
]
