"""Command line tools: lispctl, lig, lisp-map-server."""
