"""Bounds, and how it is found out which RLOCs carry traffic."""

from __future__ import annotations

from pydantic import Field

from lisp_sdn.settings import Settings


class Limits(Settings):
    """Every bound. Counts are entries, times seconds, rates packets per second.

    held_packets_per_eid: packets that wait for one Map-Reply, of an xTR. held_packets_total: of an
    xTR. pending_resolutions: EIDs that are being asked for, of an xTR. map_cache_entries: of an
    xTR; the least recently used goes. idle_timeout: until an unused flow leaves the switch.
    neighbour_prime_delay: for the resolution of a new next hop, before the first packet is sent.
    miss_rate, miss_burst: map-cache misses of a port. miss_total_rate, miss_total_burst: of all
    ports of a switch together. local_rate, local_burst: packets of a switch to EIDs of connected
    subnets that were not seen yet. icmp_rate, icmp_burst: packets of a switch
    for gateways or with spent TTL. neighbour_rate, neighbour_burst: ARP and neighbour discovery of
    a switch. too_big_rate, too_big_burst: packets of a port that are too large for the underlay.
    pending_rate, pending_burst: packets of a switch to hosts and EIDs that are being asked for.
    map_requests_per_source: a second. map_requests_total: a second. map_replies_per_eid:
    to one ITR-RLOC within 3 seconds. amplification: octets of a Map-Reply per octet of its
    Map-Request. requesters: who asked for what, to be told of changes. smr_interval: between two
    SMRs to one RLOC over time. smr_burst: SMRs to one RLOC at once. subscriptions: of all xTRs
    together (RFC 9437). subscriptions_per_xtr: of one. map_notify_rate: unsolicited Map-Notifies.
    event_streams: clients that follow the events at once.
    """

    held_packets_per_eid: int = Field(default=32, ge=0)
    held_packets_total: int = Field(default=4096, ge=0)
    pending_resolutions: int = Field(default=4096, ge=1)
    map_cache_entries: int = Field(default=100_000, ge=1)
    idle_timeout: int = Field(default=300, ge=1, le=65535)
    neighbour_prime_delay: float = Field(default=0.02, ge=0, le=5)
    miss_rate: int = Field(default=1000, ge=1)
    miss_burst: int = Field(default=200, ge=1)
    miss_total_rate: int = Field(default=4000, ge=1)
    miss_total_burst: int = Field(default=800, ge=1)
    local_rate: int = Field(default=500, ge=1)
    local_burst: int = Field(default=100, ge=1)
    icmp_rate: int = Field(default=100, ge=1)
    icmp_burst: int = Field(default=50, ge=1)
    neighbour_rate: int = Field(default=500, ge=1)
    neighbour_burst: int = Field(default=100, ge=1)
    too_big_rate: int = Field(default=100, ge=1)
    too_big_burst: int = Field(default=50, ge=1)
    pending_rate: int = Field(default=100, ge=1)
    pending_burst: int = Field(default=32, ge=1)
    map_requests_per_source: int = Field(default=1000, ge=1)
    map_requests_total: int = Field(default=200_000, ge=1)
    map_replies_per_eid: int = Field(default=3, ge=1)
    amplification: int = Field(default=10, ge=1)
    requesters: int = Field(default=100_000, ge=0)
    smr_interval: float = Field(default=3.0, gt=0)
    smr_burst: int = Field(default=8, ge=1)
    subscriptions: int = Field(default=100_000, ge=0)
    subscriptions_per_xtr: int = Field(default=10_000, ge=0)
    map_notify_rate: int = Field(default=500, ge=1)
    event_streams: int = Field(default=64, ge=0, le=200)


class Reachability(Settings):
    """How it is found out which RLOCs carry traffic (RFC 9301 section 7), times in seconds.

    probes: send RLOC-probes. probe_interval: between two to one RLOC, jittered by a quarter.
    probe_timeout: without an answer in this time, or three times the RTT if that is longer, the
    probe is sent again. probe_retries: how often, before the RLOC is unreachable.
    probes_per_second: of all xTRs together; with many RLOCs the interval grows.
    recovery: how long an RLOC that was down must be up before it is used again; twice as long
    each time that it fails again soon. recovery_limit: but no longer than this.
    """

    probes: bool = True
    probe_interval: float = Field(default=0.5, ge=0.05, le=3600)
    probe_timeout: float = Field(default=0.12, ge=0.01, le=60)
    probe_retries: int = Field(default=2, ge=0, le=100)
    probes_per_second: float = Field(default=200, gt=0)
    recovery: float = Field(default=1.0, ge=0, le=3600)
    recovery_limit: float = Field(default=60.0, ge=0, le=86400)
