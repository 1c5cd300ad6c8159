"""Proxy-ITRs and Proxy-ETRs of ours, seen centrally (RFC 6832): health, announcements, traffic."""
