"""Every route of the REST interface."""

from __future__ import annotations

from lisp_sdn.api.resources import map_cache, mappings, network

ROUTES = (*network.ROUTES, *mappings.ROUTES, *map_cache.ROUTES)
