"""A centralized ITR/ETR for Open vSwitch networks: the library, without I/O."""

__version__ = "0.1.0"
