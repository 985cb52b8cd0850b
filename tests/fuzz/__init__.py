"""Input that nobody thought of: the tools of `make fuzz`."""
