"""The runtime shim: plain `ryu-manager` starts on today's eventlet, without eventlet's notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_program_without_ryu_is_left_alone() -> None:
    result = run(
        "import sys, lisp_sdn_runtime; print('eventlet' in sys.modules, 'ryu' in sys.modules)",
        PYTHONPATH=str(ROOT),
    )
    assert result.stdout == "False False\n"


def test_ryu_manager_starts_and_nothing_greets_the_user() -> None:
    result = run(
        "import sys, lisp_sdn_runtime as r\n"
        "count = lambda: sum(type(f).__name__ == '_BeforeRyu' for f in sys.meta_path)\n"
        "r.install(); assert count() == 1, 'armed once'\n"
        "import ryu.cmd.manager as m; assert count() == 0, 'gone'\n"
        "r.install(); assert count() == 0, 'not armed again'\n"
        "from ryu.lib import hub\n"
        "hub.joinall = lambda services: None\n"
        "m.main(['--nouse-stderr', 'ryu.base.app_manager'])\n",
        PYTHONPATH=str(ROOT),
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_ryu_alone_does_not_patch_the_standard_library() -> None:
    result = run(
        "import ryu.ofproto, eventlet.patcher as p; print(p.is_monkey_patched('socket'))",
        PYTHONPATH=str(ROOT),
    )
    assert result.stdout == "False\n"


def test_a_name_that_eventlet_has_is_not_replaced() -> None:
    result = run(
        "import warnings; warnings.simplefilter('ignore')\n"
        "import eventlet.wsgi; eventlet.wsgi.ALREADY_HANDLED = 7\n"
        "import ryu; print(eventlet.wsgi.ALREADY_HANDLED)\n",
        PYTHONPATH=str(ROOT),
    )
    assert result.stdout == "7\n"


def test_the_pth_file_arms_the_hook() -> None:
    assert (ROOT / "lisp_sdn_runtime.pth").read_text() == "import lisp_sdn_runtime\n"
