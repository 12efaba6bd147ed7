"""Variables that a library reads while it is imported, and at which it would end with a traceback that does not name them.

Each is read here as its library reads it, before anything heavy is imported.
Source: what torch 2.13, accelerate 1.15, huggingface_hub 2.4, datasets 5.2, tqdm 4.70, scikit-learn 1.9 and matplotlib 3.11 do
with it.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

from debft.errors import InputError, first_line, shown
from debft.runtime.variables import TRUE_OR_FALSE

ADVICE = "correct it, or unset it"
WHOLE_NUMBERS = (
    "HF_HUB_ETAG_TIMEOUT",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "SKLEARN_WORKING_MEMORY",
    "SKLEARN_PAIRWISE_DIST_CHUNK_SIZE",
    "TQDM_INITIAL",
    "TQDM_NCOLS",
    "TQDM_NROWS",
    "TQDM_POSITION",
    "TQDM_UNIT_DIVISOR",
    "AOTINDUCTOR_REPRO_LEVEL",
    "INDUCTOR_PROVENANCE",
    "TORCHDYNAMO_REPRO_LEVEL",
    "TORCHINDUCTOR_CHUNKER_NUM_CHUNKS",
    "TORCHINDUCTOR_COMPILE_THREADS",
    "TORCHINDUCTOR_CPP_GEMM_MAX_K_SLICES",
    "TORCHINDUCTOR_CPP_MIN_CHUNK_SIZE",
    "TORCHINDUCTOR_FILE_LOCK_TIMEOUT",
    "TORCHINDUCTOR_MIN_NUM_SPLIT",
    "TORCHINDUCTOR_ORIGAMI_TOPK",
    "TORCH_COMPILE_DEBUG",
    "TORCH_DIST_INIT_BARRIER",
)
NUMBERS = (
    "COMPILE_STROBELIGHT_SAMPLE_RATE",
    "HF_DATASETS_IN_MEMORY_MAX_SIZE",
    "TQDM_DELAY",
    "TQDM_MAXINTERVAL",
    "TQDM_MININTERVAL",
    "TQDM_MINITERS",
    "TQDM_SMOOTHING",
    "TQDM_TOTAL",
)
LEVELS = tuple(logging.getLevelNamesMapping())
# Words that a variable may be, in capitals or not.
WORDS = {
    "ACCELERATE_ENABLE_RICH": TRUE_OR_FALSE,
    "ACCELERATE_LOG_LEVEL": LEVELS,
    "PYTORCH_JIT": ("1", "0", "true", "false", "yes", "no", "1v", "0v"),
    "TORCH_DISTRIBUTED_DEBUG": ("OFF", "INFO", "DETAIL"),
}
# What only the library itself can tell, which is imported for it where the variable is set; with the error that it then raises.
TRIED: dict[str, tuple[str, type[Exception] | tuple[type[Exception], ...]]] = {
    "TORCH_LOGS": ("torch", (ValueError, AttributeError)),  # the second one of a text without words
    "TORCH_LOGS_FORMAT": ("torch", ValueError),
    "TORCH_LOGS_OUT": ("torch", OSError),
    "MPLBACKEND": ("matplotlib", ValueError),
}
OF_NOTEBOOK = "module://"  # begins the backend of a notebook's kernel, which matplotlib looks up later


def check_library_variables() -> None:
    """Raise InputError that names each variable of a library which that could not read."""
    if problems := [*_unreadable(os.environ), *_of_proper_names(os.environ)]:
        raise InputError(*problems)
    for name, (library, refusal) in TRIED.items():
        value = os.environ.get(name)
        if value is not None and not value.startswith(OF_NOTEBOOK):
            _try(name, value, library, refusal)


def _unreadable(given: Mapping[str, str]) -> Iterator[str]:
    """Give a line for each variable that is no number."""
    kinds: tuple[tuple[tuple[str, ...], Callable[[str], float], str], ...] = (
        (WHOLE_NUMBERS, int, "a whole number"),
        (NUMBERS, float, "a number"),
    )
    for names, read, what in kinds:
        for name in names:
            try:
                read(given.get(name, "0"))
            except ValueError:
                yield f"{name}: expected {what}, got {shown(given[name])}; {ADVICE}"


def _of_proper_names(given: Mapping[str, str]) -> Iterator[str]:
    """Give a line for each variable that is none of its words."""
    for name, words in WORDS.items():
        if name in given and given[name].lower() not in [word.lower() for word in words]:
            yield f"{name}: expected {', '.join(words)}, got {shown(given[name])}; {ADVICE}"


def _try(name: str, value: str, library: str, refusal: type[Exception] | tuple[type[Exception], ...]) -> None:
    """Import a library that reads the variable. Raises InputError where that is refused."""
    try:
        import_module(library)
    except ImportError:
        return  # what is not installed reads nothing
    except refusal as error:
        raise InputError(f"{name}: expected what {library} can read, got {shown(value)} ({first_line(error)}); {ADVICE}") from None
