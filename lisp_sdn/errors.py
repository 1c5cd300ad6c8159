"""The error tree of lisp_sdn.

Bytes from the network raise only `DecodeError` or `AuthError`; the caller turns them into a
counted `Dropped` action. Everything else is a mistake of our own caller and stays loud.
"""

from __future__ import annotations


class LispError(Exception):
    """Base of every error that this project raises on purpose."""


class DecodeError(LispError):
    """A peer's bytes are not what the RFC says.

    field:  dotted name of the field that failed, for instance "map_reply.records[0].eid".
    offset: octets from the start of the message at which the field begins.
    reason: one of the `reason` class attributes, stable enough to count by.
    """

    code = "malformed"

    def __init__(self, field: str, offset: int, detail: str) -> None:
        super().__init__(f"{field} at octet {offset}: {detail}")
        self.field = field
        self.offset = offset
        self.detail = detail

    @property
    def reason(self) -> str:
        """The code by which this drop is counted."""
        return self.code


class Truncated(DecodeError):
    """The bytes end before the field does."""

    code = "truncated"


class BadLength(DecodeError):
    """A length or count contradicts the bytes that it describes."""

    code = "bad_length"


class BadValue(DecodeError):
    """A field holds a value that the RFC forbids."""

    code = "bad_value"


class Unsupported(DecodeError):
    """A type, AFI or LCAF that this project does not speak where one is required."""

    code = "unsupported"


class AuthError(LispError):
    """Authentication Data did not prove the sender (RFC 9301 section 5.6)."""

    code = "auth_failed"

    @property
    def reason(self) -> str:
        """The code by which this refusal is counted."""
        return self.code


class UnknownKey(AuthError):
    """No key with this Key ID, or an algorithm that the site does not allow."""

    code = "unknown_key"


class BadDigest(AuthError):
    """The MAC does not match the bytes."""

    code = "bad_digest"


class ReplayedNonce(AuthError):
    """The nonce is not greater than the last one accepted."""

    code = "replayed_nonce"


class FieldError(LispError, ValueError):
    """Our own caller built a value that cannot exist; names the field, value and range."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: {value!r}, expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


class ConfigError(LispError):
    """The configuration is refused. `problems` lists every mistake, not only the first.

    problems: (key path, message) pairs; the message names the value and what was expected.
    """

    def __init__(self, source: str, problems: list[tuple[str, str]]) -> None:
        lines = [f"{source}: {path}: {message}" for path, message in problems]
        super().__init__("\n".join(lines))
        self.source = source
        self.problems = problems


class PolicyError(LispError):
    """A policy is refused: names rule, field, value and the fix."""

    def __init__(self, rule: str, field: str, value: object, fix: str) -> None:
        super().__init__(f"rule {rule}: {field}: {value!r}: {fix}")
        self.rule = rule
        self.field = field
        self.value = value
        self.fix = fix


class StaleConfiguration(LispError):
    """The configuration file is not the one that the caller has seen (HTTP 412)."""

    def __init__(self, source: str) -> None:
        super().__init__(f"{source} was changed since its differences were shown")


class InvalidPolicy(LispError):
    """A policy document is refused as a whole. problems: every mistake, not only the first."""

    def __init__(self, problems: list[PolicyError]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class StalePolicy(LispError):
    """The policies are not those that the caller has seen (HTTP 412).

    given: the entity tag that the caller named. current: the one in force.
    """

    def __init__(self, given: str, current: str) -> None:
        super().__init__(
            f"if-match {given}: the policies have changed and are {current} now; "
            "look at them again and apply with that entity tag"
        )
        self.given = given
        self.current = current


class StoreError(LispError):
    """The store cannot read or keep data."""
