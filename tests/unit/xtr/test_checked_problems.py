"""What the edges find wrong with a switch shows among the problems of its xTR."""

import random

from lisp_sdn.actions import PortInfo
from lisp_sdn.config import load
from lisp_sdn.xtr.xtr import Xtr

LISP0 = PortInfo(2, "lisp0", "02:00:00:00:00:02", True)
PROBLEM = "port lisp0: options:exts is missing, expected gpe"


def test_they_come_and_go() -> None:
    config = load("xtrs: [{name: a, datapath_id: a1, rlocs: [{rloc: 192.0.2.1}]}]")
    xtr = Xtr(config.xtrs[0], config, random.Random(1))
    xtr.connected((LISP0,), 1.0)
    assert xtr.problems() == ()
    told = [str(action) for action in xtr.checked((PROBLEM,), 2.0)]
    assert any("xtr.problem" in text and PROBLEM in text for text in told)
    assert xtr.problems() == (PROBLEM,)
    assert xtr.checked((PROBLEM,), 3.0) == []
    xtr.checked((), 4.0)
    assert xtr.problems() == ()
