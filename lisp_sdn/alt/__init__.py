"""LISP-ALT and interworking: which EID-prefixes BGP carries (RFC 6836, RFC 6832)."""
