"""Defaults of ours for ryu-manager, and where the configuration comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ryu import cfg
from ryu.base import app_manager  # noqa: F401  brings ryu.controller, which registers the options

from lisp_sdn.apps import settings
from lisp_sdn.config import Config
from lisp_sdn.errors import ConfigError


@pytest.fixture
def conf() -> Iterator[Any]:
    settings.register()
    cfg.CONF([], project="test", default_config_files=[])
    yield cfg.CONF
    cfg.CONF.reset()
    cfg.CONF.clear_override("config", group=settings.GROUP)


def test_openflow_has_one_port_and_dead_switches_are_noticed(conf: Any) -> None:
    assert settings.openflow_endpoint() == ("0.0.0.0", 6653)
    assert conf.ofp_tcp_listen_port == 6653
    assert conf.echo_request_interval * conf.maximum_unreplied_echo_requests <= 15


def test_an_operator_can_still_say_otherwise(conf: Any) -> None:
    conf(["--ofp-tcp-listen-port=16653", "--ofp-listen-host=::1"], project="test")
    assert settings.openflow_endpoint() == ("::1", 16653)


def test_without_a_file_the_configuration_is_empty(conf: Any) -> None:
    assert settings.load() == Config()


def test_a_file_is_read(conf: Any, tmp_path: Path) -> None:
    path = tmp_path / "lisp.yaml"
    path.write_text("rest: {listen: '127.0.0.1:9000'}\n")
    conf.set_override("config", str(path), group=settings.GROUP)
    assert settings.load().rest.listen.port == 9000


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "No such file"), (b"\xff\xfe", "is not UTF-8")]
)
def test_a_file_that_cannot_be_read_is_named(
    conf: Any, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "lisp.yaml"
    if content is not None:
        path.write_bytes(content)
    conf.set_override("config", str(path), group=settings.GROUP)
    with pytest.raises(ConfigError, match=rf"lisp.yaml: \(file\): cannot be read: {expected}"):
        settings.load()
