"""Host mobility: where every EID is that may roam, and what follows when it is seen elsewhere."""

from lisp_sdn.mobility.core import Mobility

__all__ = ["Mobility"]
