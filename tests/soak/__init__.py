"""The soak: long runs of what goes wrong one time in a hundred thousand. `python -m soak`."""
