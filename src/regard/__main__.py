"""`python -m regard VERB ...`: the command line, for whoever's scripts are not on the path."""

import sys

from regard.cli.main import main

sys.exit(main())
