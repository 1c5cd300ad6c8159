"""The mapping system: Map-Server, Map-Resolver and their store (RFC 9301 section 8)."""
