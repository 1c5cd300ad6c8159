"""scripts/setup says plainly what it cannot do, and the wheel has what it must have."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "scripts" / "setup"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SETUP), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("text", ['ID=fedora\nID_LIKE="rhel"\n', None])
def test_another_distribution_is_told_what_to_install(tmp_path: Path, text: str | None) -> None:
    os_release = tmp_path / "os-release"
    if text:
        os_release.write_text(text)
    result = run("--system", OS_RELEASE=str(os_release))
    assert result.returncode != 0
    if os.geteuid() == 0:
        assert "not Debian or Ubuntu" in result.stderr
        assert "openvswitch-switch" in result.stderr
    else:
        assert "needs root" in result.stderr


def test_an_unknown_argument_is_named() -> None:
    result = run("--sytem")
    assert result.returncode == 1
    assert "--sytem" in result.stderr


def test_a_python_that_is_missing_is_named() -> None:
    result = run(PYTHON="/nonexistent/python3")
    assert result.returncode == 1
    assert "/nonexistent/python3 is missing" in result.stderr


def test_ryu_is_not_built_with_a_setuptools_that_refuses_it() -> None:
    text = (ROOT / "build-constraints.txt").read_text()
    assert "setuptools>=66.1,<67.3\n" in text
    assert "PIP_CONSTRAINT" in SETUP.read_text()
    assert "PIP_BUILD_CONSTRAINT" in SETUP.read_text()


def test_every_requirement_is_pinned_for_development() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for name in ("ryu", "eventlet", "webob", "netaddr", "pydantic", "pyyaml", "pytest", "ruff"):
        assert name in pinned
