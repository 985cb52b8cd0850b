"""`python -m spawnkit` is the command `spawnkit`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
