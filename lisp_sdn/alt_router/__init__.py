"""Our end of the ALT as a router: the bridge that carries ALT Datagrams (RFC 6836 section 4)."""
