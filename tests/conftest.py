"""Fixtures of the whole suite: no network, a cache of its own, tiny models, real text where it lies."""

import importlib.util
import json
import os
import random
import signal
import socket
import tempfile
from functools import cache
from pathlib import Path

# Before anything imports torch, datasets or debft: a cache for this run alone, few threads, no GPU, and nothing of the
# user's shell that changes what is asked, where it is asked or how it is printed. The commands that tests start inherit it.
os.environ["DEBFT_CACHE"] = tempfile.mkdtemp(prefix="debft-test-cache-")
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="debft-test-hf-")
os.environ["TOKENIZERS_PARALLELISM"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models this small are slower with two, and far slower on a busy machine
GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TRITON_INTERPRET"] = "1"  # where triton is installed, its kernels are interpreted on the CPU
HUB = (
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "HF_DATASETS_CACHE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_TOKEN",
    "HF_HUB_CACHE",
)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")  # would be asked for 127.0.0.1 too
PROCESSES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID")
# The first three cut what is printed to a width, the others make rich and typer colour what goes into a pipe.
OUTPUT = ("COLUMNS", "LINES", "TERMINAL_WIDTH", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
for name in (*HUB, *PROXIES, *PROCESSES, *OUTPUT):
    os.environ.pop(name, None)


def take_usual_signals() -> None:
    """Let this process, which another one of the tests waits for, and those that it starts be ended by the usual signals.

    Behind nohup SIGHUP is ignored, and SIGINT behind `&` in a script; whoever is started inherits that. A process that no longer
    ignores SIGHUP leaves the shell's job, so that a closed terminal does not end it.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        os.setpgrp()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if "PYTEST_XDIST_WORKER" in os.environ:
    take_usual_signals()

import processes
import pytest
import typer.main
import typer.testing
from browser import NAMES, Browser, find

from debft.config.differences import SCORE_KEYS
from debft.data.sources import demo
from debft.data.sources.table import DataTable
from debft.tasks import TASKS

# Typer makes the parser of all commands and options anew at each call, 0.15 s that a command pays once and this suite hundreds of times.
typer.main.get_command = typer.testing._get_command = cache(typer.main.get_command)

if importlib.util.find_spec("hypothesis"):  # the tests for a GPU do without it
    import hypothesis

    # The same examples everywhere, and no limit on the time of one: a busy machine would fail it.
    hypothesis.settings.register_profile(
        "debft", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("debft")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
# Of result.json, as scripts read it.
RESULT_FIELDS = {
    "format_version",
    "task",
    "model",
    "status",
    "scores",
    "published",
    "num_examples",
    "num_train_examples",
    "num_tokens",
    "steps",
    "timing",
    "peak_memory_bytes",
    "data",
    "recipe",
    "environment",
}


def pytest_configure(config):
    """`-m gpu` asks for the GPUs that were hidden above, for compiled kernels, and for what cuBLAS reads once, when it starts."""
    asked = config.getoption("markexpr")
    if "gpu" not in asked or "not gpu" in asked:
        return
    for name in ("CUDA_VISIBLE_DEVICES", "TRITON_INTERPRET"):
        del os.environ[name]
    if GPUS is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = GPUS
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, request):
    """Sockets to anywhere but this machine fail at once."""
    if request.node.get_closest_marker("hub"):
        return
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        raise OSError(101, f"tests have no network, asked for {address}")

    resolve = socket.getaddrinfo

    def no_names(host, *args, **kwargs):
        if host in ("127.0.0.1", "::1", "localhost", None, ""):
            return resolve(host, *args, **kwargs)
        raise socket.gaierror(-3, f"tests have no network, asked for {host}")

    monkeypatch.setattr(socket.socket, "connect", local_only)
    monkeypatch.setattr(socket, "getaddrinfo", no_names)


@pytest.fixture(autouse=True)
def same_variables():
    """A test leaves the environment as it was: what joins a group sets variables that the next run would obey."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def no_process_left():
    yield
    processes.end_all()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real benchmark text beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"real benchmark text is not at {SHARED}")
    return SHARED


@pytest.fixture(scope="module")
def rows_made_once():
    """The demo's rows, which every plan reads."""
    from debft.data.sources.demo import pairs

    made, rows = {}, pairs.rows

    def once(task, split):
        if (task.name, split.name) not in made:
            made[task.name, split.name] = rows(task, split)
        return made[task.name, split.name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "rows", once)
        yield


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless browser, for all tests of a module."""
    program = find()
    if program is None:
        pytest.skip(f"no browser to show the page in: none of {', '.join(NAMES)} is in PATH")
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def mnli():
    return TASKS["mnli"]


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """config.json and spm.model of the demo's tiny DeBERTa-v2."""
    return demo.model_directory()


@pytest.fixture(scope="session")
def inputs(demo_model, tmp_path_factory) -> tuple[Path, Path]:
    """A directory with 48 training rows of MNLI and that of a model still smaller than the demo's. Not to be changed."""
    root = tmp_path_factory.mktemp("inputs")
    write_model_config(root / "m", demo_model, hidden_size=32, intermediate_size=48, pooler_hidden_size=32)
    return write_mnli(root / "data", train=48), root / "m"


@pytest.fixture
def tiny_data(tmp_path) -> Path:
    """A directory in the hub's schema with 100 training rows and 2 x 20 dev rows."""
    return write_mnli(tmp_path / "data")


def dotted(values: dict) -> dict:
    """Overrides of a recipe, `{"train.seed": 1}`, for `{"seed": 1}`."""
    keys = {key.rpartition(".")[2]: key for key in SCORE_KEYS}
    return {keys[name]: value for name, value in values.items()}


def write_mnli(directory: Path, train: int = 100, dev: int = 20) -> Path:
    """MNLI-shaped TSV files of demo rows."""
    task = TASKS["mnli"]
    for split, count in zip(task.splits, (train, dev, dev), strict=True):
        table = demo.table(task, split)
        rows = list(zip(*(table.columns[name][:count] for name in ("premise", "hypothesis", "label")), strict=True))
        write_tsv(directory / "mnli" / f"{split.name}.tsv", ["premise", "hypothesis", "label"], rows)
    return directory


def write_tsv(path: Path, header: list[str], rows: list[tuple]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n", encoding="utf-8")


def table_of(**columns: list) -> DataTable:
    length = len(next(iter(columns.values())))
    return DataTable(columns=columns, path="rows.tsv", lines=range(2, length + 2))


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 0 to 40 demo words, empty ones and very different lengths included."""
    rng = random.Random(seed)
    words = [*demo.ANIMALS, *(value for values in demo.SLOTS.values() for value in values), "the", "in", "not"]
    return [" ".join(rng.choices(words, k=rng.choice((0, 1, 3, 8, 20, 40)))) for _ in range(count)]


def write_model_config(directory: Path, demo_model: Path, **changes) -> Path:
    """A copy of the demo model's directory with a changed configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    config = json.loads((demo_model / "config.json").read_text()) | changes
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "spm.model").write_bytes((demo_model / "spm.model").read_bytes())
    return directory


def run(*arguments, **environment):
    """A debft command in a process of its own, ended."""
    return processes.run(*arguments, COLUMNS="100", **environment)


def fill_cache(directory: Path, monkeypatch, hub_id: str, commit: str, source: Path, *names: str) -> Path:
    """A commit of a repository as the hub's cache has it, with these files of `source`; the last one filled is the newest."""
    cached = directory / "hub" / f"models--{hub_id.replace('/', '--')}"
    folder = cached / "snapshots" / commit
    folder.mkdir(parents=True)
    (cached / "refs").mkdir(exist_ok=True)
    (cached / "refs" / "main").write_text(commit)
    for name in names:
        (folder / name).write_bytes((source / name).read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(directory / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder
