"""A host that scans: UDP packets to random addresses of a prefix, so many a second.

    python scanner.py PREFIX PACKETS-PER-SECOND SECONDS

Prints how many were sent.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import sys
import time

BATCH = 50


def scan(prefix: str, rate: int, seconds: float) -> int:
    """Packets sent, in batches that keep the rate."""
    network = ipaddress.ip_network(prefix)
    first, size = int(network.network_address), network.num_addresses
    rng = random.Random(1)
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            if sent > now * rate:
                time.sleep((sent - now * rate) / rate)
                continue
            for _ in range(BATCH):
                target = str(ipaddress.IPv4Address(first + rng.randrange(size)))
                sock.sendto(b"scan", socket.MSG_DONTWAIT, (target, 9))
            sent += BATCH
    return sent


if __name__ == "__main__":
    print(scan(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])), flush=True)
