"""Lets Ryu 4.34 run on today's eventlet; the one place that does.

`ryu-manager` imports `ryu.app.wsgi` before it loads any application, and that module wants a name
that eventlet 0.31 removed. So the name must be there before the first `import ryu`. Python runs
`lisp_sdn_runtime.pth`, which imports this module, at its start; nothing happens in programs that
never import Ryu. In a bare checkout `sitecustomize.py` takes the place of the .pth file.

This module lies outside of the package because `import lisp_sdn.anything` at the start of every
Python in the environment would cost more than these lines do.
"""

from __future__ import annotations

import sys


def prepare() -> None:
    """Silence eventlet's notice and supply `eventlet.wsgi.ALREADY_HANDLED`; harmless when repeated.

    Without eventlet it does nothing: Ryu's own import error then says what is missing.
    """
    import warnings

    # A notice to developers about eventlet's future, printed at every start; Ryu needs eventlet.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    try:
        import eventlet.wsgi
    except ImportError:
        return
    if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
        # What a WebSocket handler of Ryu returns as its response body. Since eventlet 0.31 the
        # WebSocket code itself marks the connection as handled, and the body is empty.
        eventlet.wsgi.ALREADY_HANDLED = ()


def prepare_manager() -> None:
    """Let eventlet take over the standard library, before ryu-manager does it in two steps.

    Between its steps Ryu makes locks that the second one no longer finds, and eventlet complains
    at every start. After this, both steps find nothing left to do.
    """
    import eventlet

    eventlet.monkey_patch()


class _BeforeRyu:
    """Import hook: prepares when Ryu, and then ryu-manager, is imported; finds nothing itself."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in ("ryu", "lisp_sdn.apps"):
            prepare()
        elif name == "ryu.cmd.manager":
            sys.meta_path.remove(self)
            prepare_manager()


def install() -> None:
    """Arm the hook, once per interpreter."""
    if "ryu" not in sys.modules and not any(
        type(finder).__name__ == _BeforeRyu.__name__ for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _BeforeRyu())


install()
