"""``python -m lvcf``."""

import sys

from lvcf.cli import main

if __name__ == "__main__":
    sys.exit(main())
