"""Where does this packet go, and where does it stop? A packet followed through both xTRs.

`Tracer.trace` walks from the source EID to the destination and judges every step by what the
controller knows and by the rules that the switches should hold; `Tracer.endpoints` names an EID
for each place that a packet can be sent from or to. Nothing is sent, changed or counted.
"""

from lisp_sdn.trace.places import Core, Network
from lisp_sdn.trace.values import Endpoint, Mark, Packet, Step, StepName, Trace, Verdict
from lisp_sdn.trace.walk import Tracer

__all__ = [
    "Core",
    "Endpoint",
    "Mark",
    "Network",
    "Packet",
    "Step",
    "StepName",
    "Trace",
    "Tracer",
    "Verdict",
]
