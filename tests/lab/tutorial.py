"""docs/tutorial.md as a program: its commands at Mininet's prompt, their output compared.

sudo .venv/bin/python tests/lab/tutorial.py --write     puts what is seen into the page
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
PROMPT = "mininet> "
ELSEWHERE = "..."
"""A line that stands for any number of lines."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_VARYING = (
    # Before the time of day, which a part of it may look like.
    (re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "MAC"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"), "TIME"),
    (re.compile(r"\b(?:\d\d:\d\d:\d\d|\dd\d\dh)\b"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s)\b"), "N s"),
    (re.compile(r"\b\d+:\d\d\b(?!:)"), "N s"),
    (re.compile(r"time=\S+"), "time=N"),
    (re.compile(r"= [\d./]*N s"), "= N"),
    (re.compile(r"\S+@\S+"), "WHO"),
    (re.compile(r"^\d+$"), "COUNT"),
    (re.compile(r"\s+"), " "),
)


@dataclass
class Step:
    """One command and what the page says that it prints."""

    command: str
    output: list[str] = field(default_factory=list)


def parts(text: str) -> Iterator[str | list[Step]]:
    """The page: text, and blocks of steps."""
    for index, piece in enumerate(re.split(r"```console\n(.*?)```\n", text, flags=re.DOTALL)):
        if index % 2 == 0:
            yield piece
            continue
        steps: list[Step] = []
        for line in piece.splitlines():
            if line.startswith(PROMPT):
                steps.append(Step(line.removeprefix(PROMPT)))
            else:
                steps[-1].output.append(line)
        yield steps


def plain(line: str) -> str:
    """A line without what differs from run to run."""
    for pattern, word in _VARYING:
        line = pattern.sub(word, line)
    return line.strip()


def agrees(expected: list[str], seen: list[str]) -> bool:
    """Whether the output is as the page says, `...` standing for anything."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == ELSEWHERE else re.escape(plain(line)) + "\n" for line in expected
    )
    return re.fullmatch(pattern, "".join(f"{plain(line)}\n" for line in seen)) is not None


class Prompt:
    """Mininet's prompt of a topology; closes it at its end."""

    def __init__(self, topology: str) -> None:
        self._child = pexpect.spawn(
            sys.executable,
            [str(ROOT / "mininet" / f"{topology}.py")],
            cwd=str(ROOT),
            encoding="utf-8",
            timeout=60,
            dimensions=(50, 100),
        )

    def __enter__(self) -> Prompt:
        self._child.expect_exact(PROMPT)
        return self

    def __exit__(self, *_: object) -> None:
        self._child.sendeof()
        self._child.expect(pexpect.EOF)
        self._child.close()

    def run(self, command: str) -> list[str]:
        """The lines that a command prints."""
        self._child.sendline(command)
        self._child.expect_exact(PROMPT)
        text = _ESCAPES.sub("", self._child.before or "").replace("\r", "")
        lines = [line.rstrip() for line in text.splitlines()]
        # The terminal shows the command itself first, on as many lines as it takes.
        echoed = ""
        while lines and echoed.replace(" ", "") != command.replace(" ", ""):
            echoed += lines.pop(0)
        while lines and not lines[-1]:
            lines.pop()
        return lines


def write() -> None:
    """Run the page and put into it what is seen, where that is not what it says."""
    page = ""
    with Prompt("multihomed") as prompt:
        for part in parts(PAGE.read_text()):
            if isinstance(part, str):
                page += part
                continue
            page += "```console\n"
            for step in part:
                seen = prompt.run(step.command)
                output = step.output if agrees(step.output, seen) else seen
                page += "".join(f"{line}\n" for line in [PROMPT + step.command, *output])
            page += "```\n"
    PAGE.write_text(page)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write()
