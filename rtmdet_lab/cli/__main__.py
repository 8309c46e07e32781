"""``python -m rtmdet_lab.cli``: the command where it is not on the search path."""

import sys

from rtmdet_lab.cli.main import main

sys.exit(main())
