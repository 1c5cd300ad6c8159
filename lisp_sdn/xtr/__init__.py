"""The ITR and ETR that the controller plays on one Open vSwitch."""

from lisp_sdn.xtr.requests import Register, Resolve
from lisp_sdn.xtr.xtr import Xtr

__all__ = ["Register", "Resolve", "Xtr"]
