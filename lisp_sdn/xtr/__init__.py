"""The ITR and ETR of one Open vSwitch: map-cache, resolution, pipeline, compiler, reconcile."""
