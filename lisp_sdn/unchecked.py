"""Frozen values built without their checks, for decoders whose fields cannot be out of range.

A frozen dataclass pays for every field that its constructor sets and for every check in
`__post_init__`; of a decoded Map-Request that is most of the time. The wire format already bounds
an 8-bit field to 0..255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def unchecked(cls: type[T]) -> Callable[..., T]:
    """A constructor of the frozen, slotted dataclass `cls` that checks nothing.

    It takes every field by position or name, fields with `init=False` too, and does not call
    `__post_init__`: whoever uses it vouches for the values.
    """

    # A mutable twin with the same slots sets its fields at full speed; an object may change its
    # class to another one of the same layout.
    def become(self: Any) -> None:
        self.__class__ = cls

    return make_dataclass(
        cls.__name__,
        [(f.name, Any, _default(f)) for f in fields(cls)],  # type: ignore[arg-type]
        bases=cls.__bases__,
        namespace={"__post_init__": become},
        slots=True,
        eq=False,
        repr=False,
    )


def _default(original: Any) -> Any:
    if original.default is not MISSING:
        return field(default=original.default)
    if original.default_factory is not MISSING:
        return field(default_factory=original.default_factory)
    return field()
