"""What belongs to the whole process is the caller's: a call of the library leaves it as it was, however it ends."""

import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from debft.console import console
from debft.runtime.launch.group import in_a_group
from debft.runtime.library_variables import check_library_variables


@contextmanager
def caller_kept(*, quiet: bool = False) -> Iterator[None]:
    """Restore after the block, and after an error in it, what a caller may notice.

    That is: signal handlers, the random numbers of Python, NumPy and torch, torch's default type, threads, precision and choice
    of kernels, the state of accelerate, the environment, the working directory, the levels of loggers, warning filters and
    Python's collector of garbage. quiet: whether lines and bars for people are left out within the block
    Raises InputError for a variable that a library could not read when it is imported.
    """
    check_library_variables()
    with ExitStack() as after:
        for keep in (_signals, _quiet, _environment, _logging, _warnings, _collector, _python, _numpy, _torch, _libraries):
            after.callback(keep())
        console.quiet = console.quiet or quiet
        warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm in a notebook, whose bars are not used here
        yield


def _quiet() -> Callable[[], None]:
    before = console.quiet

    def restore() -> None:
        console.quiet = before

    return restore


def _signals() -> Callable[[], None]:
    """Only the main thread may set a handler, and so only it can have changed one."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:  # None: set by what is not Python
                signal.signal(number, handler)

    return restore


def _environment() -> Callable[[], None]:
    variables, directory = dict(os.environ), Path.cwd()

    def restore() -> None:
        for name in set(os.environ) - set(variables):
            del os.environ[name]
        for name, value in variables.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        with suppress(FileNotFoundError):
            os.chdir(directory)

    return restore


def _loggers() -> dict[str, logging.Logger]:
    named = logging.root.manager.loggerDict
    return {name: logger for name, logger in list(named.items()) if isinstance(logger, logging.Logger)} | {"": logging.root}


def _logging() -> Callable[[], None]:
    levels, disabled = {name: logger.level for name, logger in _loggers().items()}, logging.root.manager.disable
    handlers = list(logging.root.handlers)

    def restore() -> None:
        loggers = _loggers()
        for name, level in levels.items():
            loggers[name].setLevel(level)
        logging.disable(disabled)
        logging.root.handlers[:] = handlers

    return restore


def _warnings() -> Callable[[], None]:
    filters = list(warnings.filters)

    def restore() -> None:
        if warnings.filters != filters:
            warnings.filters[:] = filters  # type: ignore[index]  # a list, which typeshed calls a sequence
            warnings._filters_mutated()  # type: ignore[attr-defined]  # as warnings.catch_warnings does

    return restore


def _collector() -> Callable[[], None]:
    enabled = gc.isenabled()
    return lambda: gc.enable() if enabled else gc.disable()


def _python() -> Callable[[], None]:
    state = random.getstate()
    return lambda: random.setstate(state)


def _numpy() -> Callable[[], None]:
    if (numpy := sys.modules.get("numpy")) is None:  # imported within the block it begins with the system's randomness
        return lambda: None
    state = numpy.random.get_state()
    return lambda: numpy.random.set_state(state)


def _torch() -> Callable[[], None]:
    """Where torch is imported within the block, it is left as an import leaves it."""
    if sys.modules.get("torch") is None:
        return _fresh_torch
    import torch

    cpu, gpus = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    dtype, threads, precision = torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision()
    deterministic, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    flags, grad = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32), torch.is_grad_enabled()

    def restore() -> None:
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = flags
        torch.set_grad_enabled(grad)

    return restore


def _fresh_torch() -> None:
    if torch := sys.modules.get("torch"):
        torch.set_rng_state(torch.Generator().get_state())  # which begins with the seed that an import begins with
        torch.use_deterministic_algorithms(False)


def _libraries() -> Callable[[], None]:
    """Keep whether transformers and datasets show bars, and give the block a state of accelerate of its own.

    The models of the block go on with the state that they were made with.
    """
    had = {name for name in ("transformers", "datasets", "accelerate") if name in sys.modules}
    bars = sys.modules["transformers"].utils.logging.is_progress_bar_enabled() if "transformers" in had else True
    bars_of_rows = sys.modules["datasets"].is_progress_bar_enabled() if "datasets" in had else True
    states = _states() if "accelerate" in had else {}
    if not in_a_group():
        for kind in states:
            kind._shared_state = {}  # type: ignore[attr-defined]  # where accelerate's singletons keep theirs

    def restore() -> None:
        if transformers := sys.modules.get("transformers"):
            log = transformers.utils.logging
            log.enable_progress_bar() if bars else log.disable_progress_bar()
            if "transformers" not in had:
                log.set_verbosity_warning()  # its level where nobody sets one
        if rows := sys.modules.get("datasets"):
            rows.enable_progress_bars() if bars_of_rows else rows.disable_progress_bars()
        if "accelerate" in sys.modules and not in_a_group():
            for kind in _states():
                kind._shared_state = states.get(kind, {})  # type: ignore[attr-defined]  # as above

    return restore


def _states() -> dict[type, dict[str, object]]:
    """Return the dict that all objects of each class of accelerate share."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    return {kind: kind._shared_state for kind in (AcceleratorState, GradientState, PartialState)}
