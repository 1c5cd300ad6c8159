"""The LISP control messages, one module per family (RFC 9301 section 5, RFC 8111, RFC 9304)."""
