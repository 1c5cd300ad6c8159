"""A path-compressed binary trie of prefixes, each with a set of rules (bits of an integer).

Bit i stands for rule i. A lookup gives the rules of every prefix that covers an address, and
`widest` grows an address to the widest prefix that one verdict holds for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Block = tuple[int, int]
"""(address as an integer without host bits, prefix length)."""


@dataclass(slots=True)
class _Node:
    """value, length: the prefix. rules: of it and all that cover it. below: of those inside.

    full: both halves are taken by prefixes inside.
    """

    value: int
    length: int
    own: int = 0
    rules: int = 0
    below: int = 0
    full: bool = False
    children: list[_Node | None] = field(default_factory=lambda: [None, None])


class MaskTree:
    """Immutable after construction. bits: 32 or 128. prefixes: (value, length) -> rules."""

    def __init__(self, bits: int, prefixes: Mapping[Block, int], everywhere: int = 0) -> None:
        self.bits = bits
        self._root = _Node(0, 0)
        for (value, length), rules in prefixes.items():
            self._insert(value, length, rules)
        self._settle(self._root, everywhere)

    def _insert(self, value: int, length: int, rules: int) -> None:
        node = self._root
        while node.length < length:
            side = self._bit(value, node.length)
            child = node.children[side]
            if child is None:
                child = node.children[side] = _Node(value, length)
            common = min(self._common(child.value, value), child.length, length)
            if common < child.length:
                fork = _Node(self._cut(value, common), common)
                fork.children[self._bit(child.value, common)] = child
                node.children[side] = child = fork
            node = child
        node.own |= rules

    def _settle(self, node: _Node, inherited: int) -> None:
        # As deep as the longest chain of nested prefixes: at most 129.
        node.rules = inherited | node.own
        node.full = all(child and child.length == node.length + 1 for child in node.children)
        for child in node.children:
            if child:
                self._settle(child, node.rules)
                node.below |= child.own | child.below

    def _bit(self, value: int, position: int) -> int:
        return (value >> (self.bits - 1 - position)) & 1

    def _common(self, one: int, other: int) -> int:
        return self.bits - (one ^ other).bit_length()

    def _cut(self, value: int, length: int) -> int:
        shift = self.bits - length
        return value >> shift << shift

    def _covers(self, node: _Node, value: int, length: int) -> bool:
        return node.length <= length and self._cut(value, node.length) == node.value

    def _locate(self, value: int, length: int) -> tuple[_Node, _Node | None]:
        """The longest node that covers a block, and the node inside the block next below it."""
        node = self._root
        while node.length < length:
            child = node.children[self._bit(value, node.length)]
            if child is None:
                return node, None
            if not self._covers(child, value, length):
                inside = child.length > length and self._cut(child.value, length) == value
                return node, child if inside else None
            node = child
        return node, None

    def rules(self, value: int, length: int) -> int:
        """The rules of every prefix that covers the block."""
        return self._locate(value, length)[0].rules

    def inside(self, value: int, length: int) -> int:
        """The rules of every prefix strictly inside the block."""
        node, child = self._locate(value, length)
        if child is not None:
            return child.own | child.below
        return node.below if (node.value, node.length) == (value, length) else 0

    def widest(self, value: int, verdict: Callable[[int], object], relevant: int) -> Block:
        """The widest block around an address whose every address gets the same verdict.

        verdict: rules -> what they decide, compared by identity. relevant: rules outside of it
        change no verdict.
        """
        wanted = verdict(self.rules(value, self.bits))
        low, high = 0, self.bits  # uniform at `high`; a block inside a uniform one is uniform
        while low < high:
            middle = (low + high) // 2
            if self._uniform_block(self._cut(value, middle), middle, wanted, verdict, relevant):
                high = middle
            else:
                low = middle + 1
        return self._cut(value, high), high

    def _uniform_block(
        self,
        value: int,
        length: int,
        wanted: object,
        verdict: Callable[[int], object],
        relevant: int,
    ) -> bool:
        node, child = self._locate(value, length)
        if node.length == length:
            return self._uniform(node, wanted, verdict, relevant)
        if verdict(node.rules) is not wanted:
            return False
        return child is None or self._uniform(child, wanted, verdict, relevant)

    def _uniform(
        self, node: _Node, wanted: object, verdict: Callable[[int], object], relevant: int
    ) -> bool:
        if not node.below & relevant:
            return verdict(node.rules) is wanted
        if not node.full and verdict(node.rules) is not wanted:
            return False
        for child in node.children:
            if child and not self._uniform(child, wanted, verdict, relevant):
                return False
        return True

    def samples(self) -> Iterator[tuple[int, Block]]:
        """One address for every different combination of covering prefixes that exists.

        Yields (address, the longest prefix that covers it); (0, 0) stands for no prefix.
        """
        yield from self._samples(self._root)

    def _samples(self, node: _Node) -> Iterator[tuple[int, Block]]:
        free = self._free_address(node)
        if free is not None and (node.own or node is self._root):
            yield free, (node.value, node.length)
        for child in node.children:
            if child:
                yield from self._samples(child)

    def _free_address(self, node: _Node) -> int | None:
        """An address of the node that no prefix inside covers; forks are no prefixes."""
        if node.length == self.bits:
            return node.value
        for side, child in enumerate(node.children):
            half = node.value | side << (self.bits - 1 - node.length)
            if child is None:
                return half
            if not child.own:
                free = self._free_address(child)
                if free is not None:
                    return free
            if child.length > node.length + 1:
                # The child takes only a part of this half: step over its first differing bit.
                return child.value ^ 1 << (self.bits - child.length)
        return None


def tree(bits: int, entries: Iterable[tuple[Block, int]], everywhere: int = 0) -> MaskTree:
    """A tree from (block, rules) pairs; a block may come more than once."""
    prefixes: dict[Block, int] = {}
    for block, rules in entries:
        prefixes[block] = prefixes.get(block, 0) | rules
    return MaskTree(bits, prefixes, everywhere)
