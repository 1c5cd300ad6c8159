"""LISP control messages and data headers: bytes to values and back (RFC 9301, 9300, 9305, 8060)."""
