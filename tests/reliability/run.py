"""`python tests/reliability/run.py [PART ...]`: see harness.py. Each process that a case starts reads this file again, so it is short."""

import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here.parent), str(here.parent.parent)]
    from harness import main

    sys.exit(main())
