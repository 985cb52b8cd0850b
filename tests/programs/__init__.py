"""Real programs, with spawnkit below them and without: the tools of `make programs`."""
