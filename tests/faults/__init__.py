"""Every call fails once: the tools of `make faults`."""
