"""`python -m mmunlearn` is `mmunlearn`."""

import sys

from mmunlearn.cli import main

if __name__ == "__main__":
    sys.exit(main())
