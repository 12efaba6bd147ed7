"""`python -m debft` is the same as `debft`; several processes are started this way."""

import sys

from debft.runtime.early import take_signals
from debft.runtime.system import unsupported


def main() -> None:
    """Run the command line. A signal while Python still imports it ends with one line instead of a traceback."""
    if line := unsupported():
        sys.exit(_refused(line))
    take_signals()
    from debft.cli.main import main as run

    run()


def _refused(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
