"""For a bare checkout: `PYTHONPATH=. ryu-manager lisp_sdn.apps`; an install has the .pth file."""

import lisp_sdn_runtime  # noqa: F401
