"""Many UDP datagrams with one system call: recvmmsg(2) and sendmmsg(2) of Linux.

Python's own `recvfrom` and `sendto` spend most of their time on one system call and one text
form of an address for each datagram. Here both ends stay octets: a socket address is the kernel's
`sockaddr` as bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from ipaddress import ip_address

from lisp_sdn.address import Endpoint

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_sendmmsg = _libc.sendmmsg
_recvmmsg.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_void_p,
]
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]

MAX_DATAGRAM = 65535
_OUT_ROOM = 2048
"""Larger datagrams are sent one by one."""
_IN_STRIDE = MAX_DATAGRAM + 1 + 192
_OUT_STRIDE = _OUT_ROOM + 192
"""Distance of two buffers: not a power of two, so that they do not share the same cache lines."""

_NAME_ROOM = 32
_IPV4 = struct.Struct("!2sH4s8x")
_IPV6 = struct.Struct("!2sH4x16s4x")
_IPV4_FAMILY = socket.AF_INET.to_bytes(2, sys.byteorder)
_IPV6_FAMILY = socket.AF_INET6.to_bytes(2, sys.byteorder)
"""A sockaddr holds its family in the order of the machine, all else in network order."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("length", ctypes.c_uint))


_WORDS = ctypes.sizeof(_Mmsghdr) // 4
_LENGTH_WORD = _Mmsghdr.length.offset // 4
_NAME_LENGTH_WORD = _Msghdr.name_length.offset // 4
_IOVEC_WORDS = ctypes.sizeof(_Iovec) // ctypes.sizeof(ctypes.c_size_t)


def pack_address(address: bytes, port: int) -> bytes:
    """The `sockaddr` of a packed IPv4 or IPv6 address and a port."""
    if len(address) == 4:
        return _IPV4.pack(_IPV4_FAMILY, port, address)
    return _IPV6.pack(_IPV6_FAMILY, port, address)


def pack_endpoint(endpoint: Endpoint) -> bytes:
    """The `sockaddr` of an endpoint."""
    return pack_address(endpoint.address.packed, endpoint.port)


def unpack_endpoint(name: bytes) -> Endpoint:
    """The endpoint of a `sockaddr`."""
    address = name[4:8] if name[:2] == _IPV4_FAMILY else name[8:24]
    return Endpoint(ip_address(address), int.from_bytes(name[2:4], "big"))


class _Buffers:
    """`size` message headers, each with a data buffer and room for an address."""

    def __init__(self, size: int, family: int, stride: int) -> None:
        self.size = size
        self.data = bytearray(size * stride)
        self.names = bytearray(size * _NAME_ROOM)
        self.name_length = _IPV4.size if family == socket.AF_INET else _IPV6.size
        self._iovecs = (_Iovec * size)()
        self._headers = (_Mmsghdr * size)()
        data_at = ctypes.addressof((ctypes.c_char * len(self.data)).from_buffer(self.data))
        names_at = ctypes.addressof((ctypes.c_char * len(self.names)).from_buffer(self.names))
        for i in range(size):
            self._iovecs[i].base = data_at + i * stride
            self._iovecs[i].length = MAX_DATAGRAM
            header = self._headers[i].header
            header.name = names_at + i * _NAME_ROOM
            header.name_length = _NAME_ROOM
            header.iov = ctypes.addressof(self._iovecs[i])
            header.iov_length = 1
        self.address = ctypes.addressof(self._headers)
        words = memoryview(self._headers).cast("B").cast("I")
        self.lengths = words[_LENGTH_WORD::_WORDS]
        self.name_lengths = words[_NAME_LENGTH_WORD::_WORDS]
        sizes = memoryview(self._iovecs).cast("B").cast("L")
        self.iov_lengths = sizes[1::_IOVEC_WORDS]


class DatagramSocket:
    """A UDP socket that moves up to `batch` datagrams with a system call.

    The socket never blocks.
    """

    def __init__(self, sock: socket.socket, batch: int = 64) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.family = sock.family
        self.send_failures = 0
        self._descriptor = sock.fileno()
        self._in = _Buffers(batch, sock.family, _IN_STRIDE)
        self._out = _Buffers(batch, sock.family, _OUT_STRIDE)
        self._name_length = self._in.name_length
        for i in range(batch):
            self._out.name_lengths[i] = self._name_length
        self._queued = 0
        ipv4 = sock.family == socket.AF_INET
        self._pack_into = (_IPV4 if ipv4 else _IPV6).pack_into
        self._family = _IPV4_FAMILY if ipv4 else _IPV6_FAMILY

    def receive(self) -> list[bytes]:
        """The datagrams that wait, at most `batch`; `source` tells where one came from."""
        buffers = self._in
        count = _recvmmsg(self._descriptor, buffers.address, buffers.size, 0, None)
        if count < 0:
            _check(ctypes.get_errno())
            return []
        data = buffers.data
        found = []
        at = 0
        for length in buffers.lengths[:count].tolist():
            found.append(bytes(data[at : at + length]))
            at += _IN_STRIDE
        return found

    def source(self, index: int) -> bytes:
        """The sockaddr of a datagram of the last `receive`."""
        at = index * _NAME_ROOM
        return bytes(self._in.names[at : at + self._name_length])

    def send(self, data: bytes, name: bytes) -> None:
        """Queue a datagram for the sockaddr `name`; goes out with `flush` or a full batch."""
        buffers, i = self._out, self._queued
        at = i * _NAME_ROOM
        buffers.names[at : at + self._name_length] = name
        self._queue(data, i)

    def answer(self, data: bytes, address: bytes, port: int) -> None:
        """`send` to a packed address of the socket's family, and a port."""
        i = self._queued
        self._pack_into(self._out.names, i * _NAME_ROOM, self._family, port, address)
        self._queue(data, i)

    def _queue(self, data: bytes, i: int) -> None:
        buffers = self._out
        length = len(data)
        if length > _OUT_ROOM:
            self._send_large(data, i)
            return
        at = i * _OUT_STRIDE
        buffers.data[at : at + length] = data
        buffers.iov_lengths[i] = length
        self._queued = i + 1
        if self._queued == buffers.size:
            self.flush()

    def _send_large(self, data: bytes, i: int) -> None:
        at = i * _NAME_ROOM
        target = unpack_endpoint(bytes(self._out.names[at : at + self._name_length]))
        self.flush()
        try:
            self.socket.sendto(data, (str(target.address), target.port))
        except OSError:
            self.send_failures += 1

    def flush(self) -> None:
        """Send what is queued. What the kernel refuses is dropped and counted: UDP may lose."""
        done, queued = 0, self._queued
        size = ctypes.sizeof(_Mmsghdr)
        while done < queued:
            sent = _sendmmsg(self._descriptor, self._out.address + done * size, queued - done, 0)
            if sent <= 0:
                # The first of the rest failed (no route, buffer full, ...); go on behind it.
                self.send_failures += 1
                sent = 1
            done += sent
        self._queued = 0

    @property
    def endpoint(self) -> Endpoint:
        """Where it is bound."""
        address, port = self.socket.getsockname()[:2]
        return Endpoint(ip_address(address), port)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _check(number: int) -> None:
    """An error of receiving that is not simply "nothing there"."""
    # ECONNREFUSED: an ICMP error for something sent earlier; it says nothing about this socket.
    if number not in (errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED):
        raise OSError(number, os.strerror(number))


def listen(endpoint: Endpoint, *, reuse_port: bool = False, buffer: int = 4 << 20) -> socket.socket:
    """A UDP socket bound to `endpoint`. buffer: octets asked of the kernel, each way.

    An IPv6 socket takes IPv6 only, so that 0.0.0.0 and :: may both be bound. Raises OSError.
    """
    family = socket.AF_INET if endpoint.address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        sock.bind((str(endpoint.address), endpoint.port))
    except OSError:
        sock.close()
        raise
    return sock
