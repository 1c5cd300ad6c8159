"""The reference of lispctl, made of its commands: `python -m lisp_sdn.cli.document`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from lisp_sdn.cli.lispctl import main

INTRODUCTION = """# lispctl

<!-- Made by python -m lisp_sdn.cli.document; change the code, not this page. -->

`lispctl` looks into a running controller and changes what can be changed while it runs. It speaks
the [REST interface](rest.md); everything it shows, a program can have with `--json`, which may
stand before or after the command.

```sh
lispctl check lisp.yaml               # before the controller is started
lispctl status                        # is something wrong?
lispctl show site                     # who registered?
lispctl show refusals                 # who was refused, and why?
lispctl show map-cache                # what do the switches forward by?
lispctl resolve "[42] 10.2.0.5" --from 10.1.0.1
```

EIDs are written `[IID] ADDRESS/LENGTH`; quote them, because of the brackets. `--iid 42` saves
the brackets. Host bits are an error.

| Exit status | Meaning |
| --- | --- |
| 0 | done |
| 1 | refused, not found, or a file with mistakes; the reason is on standard error |
| 2 | wrong use |
| 3 | the controller cannot be reached |
| 130 | interrupted, as `watch` ends |

`eval "$(lispctl completion bash)"` completes commands and options; `zsh` and `fish` likewise.

When an answer takes longer than a second and a person looks, standard error shows what is waited
for. Output that is not for a terminal is never cut or wrapped.
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_group("lispctl", main)]).rstrip() + "\n"


def _group(path: str, group: click.Group) -> Iterator[str]:
    yield from _command(path, group)
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _group(f"{path} {name}", command)
        else:
            yield from _command(f"{path} {name}", command)


def _command(path: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=path, max_content_width=100)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## {path}\n"
    yield f"    {path} {usage}\n"
    yield f"{_paragraphs(command.help or '')}\n"
    options = [
        parameter.get_help_record(context)
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
    ]
    rows = [record for record in options if record is not None and "--help" not in record[0]]
    if rows:
        yield "| Option | Meaning |"
        yield "| --- | --- |"
        yield from (f"| `{_cell(name)}` | {_cell(words)} |" for name, words in rows)
        yield ""


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown())
