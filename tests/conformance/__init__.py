"""CPython's own tests of its process modules, through ours: the tools of `make conformance`."""
