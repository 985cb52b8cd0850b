"""Poor conditions: the whole suite once under each, the tools of `make degrade`."""
