"""docs/tutorial.md works as it is written: every command, and what it prints."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterator

import labrun
import pytest
from tutorial import PAGE, Prompt, Step, agrees, parts


@pytest.fixture(scope="module")
def blocks() -> list[list[Step]]:
    return [part for part in parts(PAGE.read_text()) if not isinstance(part, str)]


@pytest.fixture(scope="module")
def prompt() -> Iterator[Prompt]:
    with Prompt("multihomed") as running:
        yield running


def counts(lines: list[str]) -> tuple[int, ...]:
    """Packets sent to athens by each uplink, as the page counts them."""
    return tuple(int(line) for line in lines if line.isdigit())


def resting(prompt: Prompt, command: str) -> bool:
    """Whether counters that a command shows are the same a moment later."""
    first = counts(prompt.run(command))
    time.sleep(0.2)
    second = counts(prompt.run(command))
    return sum(second) - sum(first) < 5  # RLOC-probes go on


def test_every_command_prints_what_the_page_says(blocks: list[list[Step]], prompt: Prompt) -> None:
    assert sum(len(block) for block in blocks) > 20
    seen: list[tuple[int, ...]] = []
    for step in (step for block in blocks for step in block):
        output: list[str] = []

        def as_written(step: Step = step, output: list[str] = output) -> bool:
            output[:] = prompt.run(step.command)
            return agrees(step.output, output)

        if "tx_packets" in step.command:  # packets may be on their way still
            still = functools.partial(resting, prompt, step.command)
            labrun.poll("the counters to stand still", still, 10)
        if "lispctl show" in step.command:  # what is shown may take a moment to come true
            labrun.poll(f"what the page says of {step.command!r}", as_written, 10)
        else:
            assert as_written(), "\n".join([step.command, *output])
        if "tx_packets" in step.command:
            seen.append(counts(output))
    before, by_uplink_1, by_weight = seen
    first = [after - earlier for after, earlier in zip(by_uplink_1, before, strict=True)]
    then = [after - earlier for after, earlier in zip(by_weight, by_uplink_1, strict=True)]
    # A busy machine loses some of a thousand datagrams before any switch sees them.
    assert first[0] >= 950
    assert first[1] < 50
    assert 250 <= then[0] <= 400
    assert 650 <= then[1] <= 800


def test_the_page_has_the_same_numbers(blocks: list[list[Step]]) -> None:
    told = [
        counts(step.output) for block in blocks for step in block if "tx_packets" in step.command
    ]
    assert len(told) == 3
    assert told[1][0] - told[0][0] >= 1000
    assert re.search(r"30 of 100 flows by uplink 1, 70", PAGE.read_text())


@pytest.mark.parametrize(
    ("expected", "seen", "same"),
    [
        (["a 12.5 ms"], ["a 3 ms"], True),
        (["rtt a/b = 0.6/3.3 ms"], ["rtt a/b = 10.1/12 ms"], True),
        (["seq=1 time=0.9 ms"], ["seq=1 time=12 ms"], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "...", "d"], ["a", "b", "c"], False),
        (["RLOC 198.18.1.1"], ["RLOC 198.18.2.1"], False),
        ([], [], True),
        ([], ["something"], False),
        (["up   00:00:01"], ["up 01:00:00"], True),
    ],
)
def test_how_output_is_compared(expected: list[str], seen: list[str], same: bool) -> None:
    assert agrees(expected, seen) is same
