"""`GET /interworking`."""

from __future__ import annotations

import json
from typing import Any

from api_fake import Client, filled


def shown() -> Any:
    response = Client(filled())("GET", "/interworking")
    assert response.status == 200
    return json.loads(response.body)


def test_petrs_with_the_itrs_that_use_them() -> None:
    body = shown()
    first, second = body["petrs"]
    assert (first["rloc"], first["priority"], first["xtr"]) == ("192.0.2.200", 1, None)
    (user,) = first["users"]
    assert (user["xtr"], user["state"], user["rtt_seconds"]) == ("xtr-east", "up", 0.002)
    assert (second["xtr"], second["users"]) == ("xtr-west", [])


def test_proxy_itrs_with_what_bgp_announces() -> None:
    body = shown()
    up, down = body["proxy_itrs"]
    assert (up["xtr"], up["healthy"], up["reason"]) == ("xtr-west", True, "")
    announced = {"prefix": "10.0.0.0/8", "next_hop": "192.0.2.2", "announced": True}
    assert up["announcements"] == [announced]
    assert (down["healthy"], down["reason"]) == (False, "rlocs-down")
    assert down["announcements"][0]["next_hop"] is None


def test_native_ports_with_what_they_carry() -> None:
    body = shown()
    west, east = body["native_ports"]
    assert west["proxy_etr"] == ["10.1.0.0/16"]
    assert west["petr_sent"] == {"packets": 3, "octets": 300}
    assert (east["up"], east["proxy_etr"]) == (None, [])
