"""`python -m tiny`."""

from tiny import main

main()
