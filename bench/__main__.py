"""`python -m bench` is bench.run."""

import sys

from bench.run import main

sys.exit(main())
