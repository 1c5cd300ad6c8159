"""Documentation names what exists: pages, sections, commands, their options and arguments."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest

from lisp_sdn.cli.lig import main as lig
from lisp_sdn.cli.lispctl import main as lispctl

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PROGRAMS: dict[str, click.Command] = {"lispctl": lispctl, "lig": lig}

BLOCK = re.compile(r"(?ms)^ *```[a-z]*\n(.*?)^ *```")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"(?m)^#{1,6} (.+)$")
INLINE = re.compile(r"`((?:lispctl|lig) [^`]+)`")
LINE = re.compile(r"(?m)^ *(?:\$ |mininet> ctl )?((?:lispctl|lig) .*)$")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def anchors(page: Path) -> set[str]:
    """The sections of a page, as links name them."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(BLOCK.sub("", page.read_text())):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        found[name] = found.get(name, -1) + 1
    return {f"{name}-{n}" if n else name for name, last in found.items() for n in range(last + 1)}


def broken(page: Path, link: str) -> bool:
    """Whether a link of a page leads nowhere; those to other hosts are not followed."""
    if re.match(r"[a-z]+:", link):
        return False
    name, _, section = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return not target.exists() or (bool(section) and section not in anchors(target))


def commands(page: Path) -> list[str]:
    """The commands of ours that a page shows, in its text and in its blocks."""
    text = page.read_text()
    blocks = "\n".join(BLOCK.findall(text)).replace("\\\n", " ")
    inline = (" ".join(found.split()) for found in INLINE.findall(BLOCK.sub("", text)))
    return [*inline, *LINE.findall(blocks)]


def mistake(line: str) -> str | None:
    """Why a command cannot be typed so. Its name alone, or of one option, is right: text speaks
    of it.
    """
    # What follows after some spaces explains the command.
    words = shlex.split(re.split(r" [>|]|;|(?<=\S) {3}", line)[0], comments=True)
    command = PROGRAMS[words[0]]
    words = words[1:]
    context = click.Context(command)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0] == "...":
            return None
        found = command.get_command(context, words[0])
        if found is None:
            return f"{command.name} has no command {words[0]}"
        command, words = found, words[1:]
        context = click.Context(command)
    if not words:
        return None
    try:
        given, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return None if len(words) == 1 and "requires an argument" in str(error) else str(error)
    if rest:
        return f"unexpected {rest}"
    missing = [
        p.name for p in command.params if p.required and not isinstance(given.get(str(p.name)), str)
    ]
    return f"missing {missing}" if missing else None


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(BLOCK.sub("", page.read_text()))
    assert not [link for link in links if broken(page, link)]


@each_page
def test_commands_can_be_typed_so(page: Path) -> None:
    wrong = {line: mistake(line) for line in commands(page)}
    assert not {line: why for line, why in wrong.items() if why}


def test_links_and_commands_are_found() -> None:
    assert sum(len(LINK.findall(page.read_text())) for page in PAGES) > 80
    assert sum(len(commands(page)) for page in PAGES) > 100


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("lispctl show nothing", "nothing"),
        ("lispctl policy explain 10.0.0.1", "unexpected"),
        ("lispctl show events --colour", "colour"),
        ("lispctl resolve --from 10.0.0.1", "missing"),
        ("lig 10.0.0.1 10.0.0.2 10.0.0.3", "unexpected"),
    ],
)
def test_what_cannot_be_typed_is_noticed(line: str, word: str) -> None:
    assert word in (mistake(line) or "")


def test_a_link_to_nowhere_is_noticed() -> None:
    readme = ROOT / "README.md"
    assert broken(readme, "docs/nothing.md")
    assert broken(readme, "docs/operations.md#nothing")
    assert not broken(readme, "docs/operations.md#installing")
