"""Every route of the REST interface."""

from __future__ import annotations

from lisp_sdn.api.resources import (
    flows,
    history,
    map_cache,
    mappings,
    network,
    registrations,
    resolve,
)

ROUTES = (
    *network.ROUTES,
    *mappings.ROUTES,
    *registrations.ROUTES,
    *resolve.ROUTES,
    *map_cache.ROUTES,
    *flows.ROUTES,
    *history.ROUTES,
)
