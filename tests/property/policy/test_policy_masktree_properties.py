"""The prefix tree against looking at every address of a small block."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lisp_sdn.policy.masktree import Block, MaskTree

BITS = 5


def _block(value: int, length: int) -> Block:
    shift = BITS - length
    return value >> shift << shift, length


blocks = st.tuples(st.integers(0, 2**BITS - 1), st.integers(0, BITS)).map(
    lambda pair: _block(*pair)
)
trees = st.dictionaries(blocks, st.integers(1, 15), max_size=8)


def rules_of(prefixes: dict[Block, int], address: int, everywhere: int = 0) -> int:
    for (value, length), rules in prefixes.items():
        if _block(address, length)[0] == value:
            everywhere |= rules
    return everywhere


@given(trees, st.integers(0, 16))
def test_a_lookup_gives_the_rules_of_all_covering_prefixes(
    prefixes: dict[Block, int], everywhere: int
) -> None:
    tree = MaskTree(BITS, prefixes, everywhere)
    for address in range(2**BITS):
        assert tree.rules(address, BITS) == rules_of(prefixes, address, everywhere)


@given(trees, blocks)
def test_inside_gives_the_rules_of_strictly_longer_prefixes(
    prefixes: dict[Block, int], block: Block
) -> None:
    expected = 0
    for (value, length), rules in prefixes.items():
        if length > block[1] and _block(value, block[1]) == block:
            expected |= rules
    assert MaskTree(BITS, prefixes).inside(*block) == expected


@given(trees, st.integers(0, 2**BITS - 1), st.integers(0, 15))
def test_widest_is_uniform_and_cannot_grow(
    prefixes: dict[Block, int], address: int, seen: int
) -> None:
    """The verdict looks at some of the rules only, so different prefixes can mean the same."""
    known: dict[int, object] = {}

    def verdict(rules: int) -> object:
        return known.setdefault(rules & seen, object())

    tree = MaskTree(BITS, prefixes)
    value, length = tree.widest(address, verdict, 15)

    def verdicts(block: Block) -> set[int]:
        size = 1 << (BITS - block[1])
        return {rules_of(prefixes, block[0] + n) & seen for n in range(size)}

    assert _block(address, length) == (value, length)
    assert len(verdicts((value, length))) == 1
    assert length == 0 or len(verdicts(_block(address, length - 1))) > 1


@given(trees)
def test_samples_show_every_combination_of_prefixes(prefixes: dict[Block, int]) -> None:
    tree = MaskTree(BITS, dict.fromkeys(prefixes, 1))

    def covering(address: int) -> frozenset[Block]:
        return frozenset(b for b in prefixes if _block(address, b[1]) == b)

    samples = list(tree.samples())
    assert {covering(address) for address, _ in samples} == {
        covering(address) for address in range(2**BITS)
    }
    for address, longest in samples:
        lengths = [length for _, length in covering(address)]
        assert longest[1] == max(lengths, default=0)
