"""`python -m agent` is the same as the console script `edge-agent`."""

import sys

from agent.main import main

sys.exit(main())
