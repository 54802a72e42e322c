"""`python -m agent` is the same as the console script `edge-agent`."""

import sys

from agent.cli import main

sys.exit(main())
