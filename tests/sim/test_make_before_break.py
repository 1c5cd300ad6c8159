"""Between any two modifications that a switch gets, packets still find their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import pytest
from test_controller import ControlledNetwork
from xtr_network import TUNNEL, Host

from lisp_sdn.actions import Action, ApplyRules

WEIGHTS = """
- site: b
  rules:
    - name: split
      action:
        locators:
          - {{rloc: 192.0.2.2, weight: {0}}}
          - {{rloc: "2001:db8:ffff::2", weight: {1}}}
"""
PIN = """
- site: b
  rules:
    - name: pin
      action: {{pin: ["{0}"]}}
"""
NOTHING = "- {{site: b, rules: []}}"


class OneByOne(ControlledNetwork):
    """Applies modifications one by one; a packet of `host` goes out after each."""

    host: Host | None = None
    gaps = 0
    steps = 0

    def carry_out(self, actions: Iterable[Action]) -> None:
        todo = deque(actions)
        while todo:
            action = todo.popleft()
            if not isinstance(action, ApplyRules) or self.host is None:
                super().carry_out([action])
                continue
            for change in action.changes:
                self.by_datapath[action.datapath_id].switch.apply((change,))
                self.steps += 1
                self._look()

    def _look(self) -> None:
        assert self.host is not None
        for number in range(40):
            # Many destinations of the one map-cache entry: many of the 64 slots.
            frame = self.host.frame(f"10.2.0.{number + 1}")
            trace = self["xa"].switch.receive(1, frame)
            if not any(sent.port == TUNNEL for sent in trace.sent) and not trace.punted:
                self.gaps += 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (WEIGHTS.format(30, 70), WEIGHTS.format(70, 30)),
        (WEIGHTS.format(1, 99), WEIGHTS.format(50, 50)),
        (PIN.format("192.0.2.2"), WEIGHTS.format(40, 60)),
        (WEIGHTS.format(40, 60), PIN.format("2001:db8:ffff::2")),
        (PIN.format("192.0.2.2"), PIN.format("2001:db8:ffff::2")),
        (NOTHING.format(), WEIGHTS.format(10, 90)),
    ],
)
def test_a_policy_change_leaves_no_gap(before: str, after: str) -> None:
    network = OneByOne()
    network.start()
    host = network["xa"].add(1, "10.1.0.1", "02:00:00:00:01:01")
    network["xb"].add(1, "10.2.0.1", "02:00:00:00:02:01")
    policing = network.controller.policing
    for text in (before, after):
        _, actions = policing.apply(policing.parse(text), who="t", why="test", now=network.now)
        network.carry_out(actions)
        network.send("xa", 1, host.frame("10.2.0.1", b"warm"))
        network.advance(1.0)
        network.host = host
    assert network.steps
    assert network.gaps == 0
