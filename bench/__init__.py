"""Process creation as ratios to plain C: `python -m bench`, and `python -m bench.demo`."""
