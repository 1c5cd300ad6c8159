"""The database of an Open vSwitch (RFC 7047): what an xTR needs there, and how it gets there.

Without I/O: `rpc` is the protocol, `snapshot` what a database says, `plan` the one transaction that
makes a switch an xTR. The edges verify with it, `lispctl xtr adopt` provisions with it.
"""
