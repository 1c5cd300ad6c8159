"""`lispctl reload` against the API over loopback HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from lispctl_server import Controller, serving

from api_fake import CONFIG, filled  # isort: skip

EDITED = (
    CONFIG.replace("very-secret-too", "rolled-over")
    .replace("weight: 30", "weight: 40")
    .replace("accept_more_specifics: true", "accept_more_specifics: false")
) + "control: {listen: ['127.0.0.1:5342']}\nmappings: [{eid_prefix: 10.9.0.0/16}]\n"


@pytest.fixture
def ctl() -> Iterator[Controller]:
    with serving(filled()) as controller:
        yield controller


def test_the_difference_is_shown_first(ctl: Controller) -> None:
    ctl.backend.file = EDITED
    before = ctl.backend.config
    result = ctl("reload", "--dry-run")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "~ sites[east].eid_prefixes[[42] 10.1.0.0/16].accept_more_specifics: True -> False" in (
        lines
    )
    assert "~ sites[west].authentication_keys[1].key: changed" in lines
    assert "~ xtrs[xtr-west].rlocs[192.0.2.2].weight: 30 -> 40" in lines
    assert "+ control.listen[127.0.0.1:5342]  (needs a restart)" in lines
    assert '+ mappings[10.9.0.0/16]: {"eid_prefix": "10.9.0.0/16"}' in lines
    assert "rolled-over" not in result.output
    assert ctl.backend.config is before


def test_it_changes_nothing_unless_told_to(ctl: Controller) -> None:
    ctl.backend.file = EDITED
    before = ctl.backend.config
    for flags in ((), ("--json",)):
        result = ctl("reload", *flags)
        assert result.exit_code == 2
        assert "--yes" in result.output
    assert ctl.backend.config is before
    result = ctl("reload", "--yes", "--who", "ann")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == (
        "in force: 4 changes; 3 need a restart of the controller"
    )
    assert ctl.backend.config.xtrs[1].rlocs[0].weight == 40
    assert ctl.backend.journal.journal_list()[0].who == "ann"


def test_without_a_difference_there_is_nothing_to_say_yes_to(ctl: Controller) -> None:
    result = ctl("reload")
    assert (result.exit_code, result.stdout) == (
        0,
        "lisp.yaml: nothing differs from what is in force\n",
    )
    document = json.loads(ctl("reload", "--json").stdout)
    assert (document["applied"], document["changes"]) == (False, [])


def test_every_mistake_is_told(ctl: Controller) -> None:
    ctl.backend.file = CONFIG.replace("name: west", "name: east").replace("192.0.2.2", "192.0.2.1")
    result = ctl("reload", "--yes")
    assert result.exit_code == 1
    assert "sites[1].name: 'east' is already sites[0]" in result.output
    assert "xtrs[1].rlocs[0].rloc: 192.0.2.1 is already" in result.output
