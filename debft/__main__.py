"""`python -m debft` is the same as `debft`; several processes are started this way."""

import os
import signal
import sys
from typing import NoReturn

from debft.runtime.system import unsupported


def main() -> None:
    """Run the command line. Ctrl-C while Python still imports it ends with one line instead of a traceback."""
    if line := unsupported():
        sys.exit(_refused(line))
    taken = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if taken:
        signal.signal(signal.SIGINT, _leave)
    from debft.cli.main import main as run

    if taken:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _refused(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


def _leave(number: int, frame: object) -> NoReturn:
    os.write(2, b"interrupted before the first training step\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
