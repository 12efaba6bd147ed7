"""`make fuzz`: atheris gives bytes to what reads them, and keeps those that take branches which none before took.

    python tests/reliability/guided.py [-max_total_time=60] [-runs=N]     as libFuzzer has its options

The first byte chooses the reader of fuzzed_bytes.py. What raises anything but an error for the user ends it with a traceback, and the
bytes lie in build/fuzz/crash-*; give that file as an argument to try it again. build/fuzz/corpus keeps what was found, so that the next
run goes on from there.
"""

import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "fuzz"
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

with atheris.instrument_imports(include=["debft", "yaml", "csv", "json", "shlex"]):
    import conftest  # noqa: F401  sets the environment that all tests share
    from fuzzed_bytes import READERS, read_bytes

NAMES = sorted(READERS)
SCRATCH = Path(tempfile.mkdtemp(prefix="debft-fuzz-"))


def one_input(data: bytes) -> None:
    """Try some bytes."""
    if data:
        read_bytes(NAMES[data[0] % len(NAMES)], data[1:], SCRATCH)


def main() -> None:
    corpus = BUILD / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        (corpus / f"right-{name}").write_bytes(bytes([number]) + READERS[name][2])
    crashes = [word for word in sys.argv[1:] if not word.startswith("-")]
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    places = crashes or [str(corpus)]
    atheris.Setup([sys.argv[0], f"-artifact_prefix={BUILD}/", "-max_len=4096", "-timeout=120", *options, *places], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
