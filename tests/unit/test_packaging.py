"""The example configuration: every key, correct as it is and with everything in force."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from lisp_sdn.cli.configuration import markdown, meanings
from lisp_sdn.config import Config, load
from lisp_sdn.policy_settings import SitePolicy

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "packaging" / "lisp.yaml"


def everything() -> Config:
    """The example with its disabled settings in force."""
    return load(re.sub(r"(?m)^( *)#(?=[^ #\n]|  )", r"\1", EXAMPLE.read_text()), "example")


def models(value: object) -> Iterator[BaseModel]:
    """All settings inside of a value; policies are taught elsewhere, by their own examples."""
    if isinstance(value, BaseModel):
        yield value
        if not isinstance(value, SitePolicy):
            for name in type(value).model_fields:
                yield from models(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from models(item)


def test_the_example_is_correct_as_it_is() -> None:
    assert len(load(EXAMPLE.read_text(), "example").xtrs) == 2


def test_the_example_has_every_key() -> None:
    named: dict[type[BaseModel], set[str]] = {}
    for model in models(everything()):
        named.setdefault(type(model), set()).update(model.model_fields_set)
    missing = [
        f"{model.__name__}.{key}"
        for model, keys in named.items()
        for key in model.model_fields
        if key not in keys
    ]
    assert not missing, f"add to packaging/lisp.yaml: {missing}"


def test_the_example_tells_the_defaults() -> None:
    config = everything()
    assert config.limits == Config().limits
    assert config.reachability == Config().reachability
    assert config.control == Config().control
    assert config.log == Config().log
    assert config.source_guard == Config().source_guard
    assert config.gleaning == Config().gleaning


def test_the_reference_is_what_the_code_generates() -> None:
    page = ROOT / "docs" / "configuration.md"
    assert page.read_text() == markdown(), (
        "run: python -m lisp_sdn.cli.configuration > docs/configuration.md"
    )


def test_every_key_is_explained() -> None:
    schema = Config.model_json_schema(by_alias=True)
    untold = [
        f"{name}.{key}"
        for name, model in (("Config", schema), *schema["$defs"].items())
        for key in model.get("properties", {})
        if not meanings(model)[1].get(key)
    ]
    assert not untold, f"explain in the docstrings of the settings, as `key: words`: {untold}"


@pytest.mark.parametrize(
    ("docstring", "summary", "told"),
    [
        ("Only words: no key.", "Only words: no key.", {}),
        ("S.\n\na: one. b, c: two; three: 3.", "S.", {"a": "one", "b": "two; three: 3"}),
        ("S.\n\na: one;\nb: two.", "S.", {"a": "one", "b": "two"}),
        ("S. a: first\nline. b,\nc: both.", "S.", {"a": "first line", "b": "both", "c": "both"}),
    ],
)
def test_what_a_docstring_says_of_its_keys(
    docstring: str, summary: str, told: dict[str, str]
) -> None:
    model = {"description": docstring, "properties": {key: {} for key in "abc"}}
    found, words = meanings(model)
    assert found == summary
    assert words.items() >= told.items()


def test_the_service_and_ryu_conf_fit_each_other() -> None:
    service = (ROOT / "packaging" / "lisp-sdn.service").read_text()
    ryu_conf = configparser.ConfigParser()
    ryu_conf.read(ROOT / "packaging" / "ryu.conf")
    path = ryu_conf["lisp_sdn"]["config"]
    assert f"lispctl check {path}\n" in service
    assert "--config-file /etc/lisp-sdn/ryu.conf lisp_sdn.apps\n" in service
    store = load(EXAMPLE.read_text()).store.path
    assert store is not None
    assert Path(store).parent == Path("/var/lib/lisp-sdn")
    assert "StateDirectory=lisp-sdn\n" in service


def test_ryu_knows_every_option_of_ryu_conf() -> None:
    from ryu import cfg
    from ryu.base import app_manager  # which registers them, with what it imports

    assert app_manager.LOG
    text = (ROOT / "packaging" / "ryu.conf").read_text()
    options = re.findall(r"(?m)^#?(\w+) = ", text.split("[lisp_sdn]")[0])
    assert len(options) == 5
    for option in options:
        assert option in cfg.CONF, option
