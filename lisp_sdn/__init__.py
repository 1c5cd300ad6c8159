"""A centralized ITR/ETR for Open vSwitch networks: the library, without I/O."""
