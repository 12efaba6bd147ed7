"""The commands in README and the pages of the site: found, and run in order in one directory per page.

A block of language `sh` holds commands, one a line; of `console` those behind `$`, with what they print. A block of another
language with a title (`csv title="reviews.csv"`) is written to that file, and `python` without one is run. Nothing else is.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import processes
import yaml

ROOT = Path(__file__).parent.parent
SKILL = ROOT / ".agents" / "skills" / "debft" / "SKILL.md"
PAGES = {path.name: path for path in [ROOT / "README.md", SKILL, *sorted((ROOT / "docs" / "pages").glob("*.md"))]}
# What a page takes for granted: the reader's own files, a folder for each such page.
FILES = ROOT / "tests" / "docs" / "files"
# Page -> start of a command -> options that the test adds to it, so that it is short or needs no download.
ADDED = yaml.safe_load((ROOT / "tests" / "docs" / "added_options.yaml").read_text(encoding="utf-8"))
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S)
# What a command may end with beside exit code 0: there is no hub in a test, no GPU, and no cluster.
ELSEWHERE = re.compile(
    r"HF_HUB_OFFLINE is set|the hub cannot be reached|expected a CUDA GPU|expected a machine that submits to Slurm|expected an answer of Slurm"
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    text: str

    @property
    def commands(self) -> list[str]:
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line for line in lines if self.language == "sh" and shlex.split(line, comments=True)]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order, without their indentation."""
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        language, _, rest = found["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        text = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.M)
        yield Block(language=language, title=title and title[1], text=text)


def stages(command: str) -> list[list[str]]:
    """The words of each program of a pipe, without comments: `[["echo", "a"], ["debft", "predict", "-"]]`."""
    parts = re.split(r"""\|(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""", command)  # at a | outside of quotes
    return [shlex.split(part, comments=True) for part in parts]


def exit_code(command: str) -> int | None:
    """The exit code of an error that a page shows on purpose: `debft mnli --lr 1  # exit code 2`."""
    found = re.search(r"# exit code (\d+)", command)
    return int(found[1]) if found else None


def added(page: str, command: str) -> list[str]:
    """The options that the test adds to a command of a page: those of the longest start that fits."""
    starts = [start for start in ADDED.get(page, {}) if command.startswith(start)]
    return shlex.split(ADDED[page][max(starts, key=len)]) if starts else []


class PageRun:
    """The scratch directory of a page, and the servers that its commands have started."""

    def __init__(self, page: str, directory: Path) -> None:
        self.page, self.directory = page, directory
        if (FILES / page).is_dir():
            shutil.copytree(FILES / page, directory, dirs_exist_ok=True)
        self._servers: list[processes.Command] = []

    def follow(self) -> int:
        """Do what the page says, from its top to its end, and count its commands; AssertionError names one that went wrong."""
        done = 0
        try:
            for block in blocks(PAGES[self.page]):
                if block.title:
                    path = self.directory / block.title
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(block.text, encoding="utf-8")
                elif block.language == "python":
                    self._judge(block.text, processes.run(code=block.text, cwd=self.directory, HF_HUB_OFFLINE="1"))
                for command in block.commands:
                    self._do(command)
                    done += 1
        finally:
            for server in self._servers:
                server.terminate()
                server.communicate()
        return done

    def _do(self, command: str) -> None:
        *before, last = stages(command)
        stdin = ""
        for words in before:
            stdin = self._judge(command, self._one(words, stdin, [])).stdout
        self._judge(command, self._one(last, stdin, added(self.page, command)))

    def _one(self, words: list[str], stdin: str, more: list[str]) -> subprocess.CompletedProcess:
        """Run one program, its output in the file behind `>`."""
        words, file = (words[: words.index(">")], words[words.index(">") + 1]) if ">" in words else (words, None)
        if words[0] == "debft" and words[1:2] == ["serve"]:
            return self._serve([*words[1:], *more])
        if words[0] == "debft":
            done = processes.run(
                *words[1:], *more, code=processes.FORKING, cwd=self.directory, stdin=stdin, HF_HUB_OFFLINE="1", COLUMNS="100"
            )
        else:
            done = other_program(words, stdin, self.directory)
        if file:
            (self.directory / file).write_text(done.stdout, encoding="utf-8")
        return done

    def _serve(self, words: list[str]) -> subprocess.CompletedProcess:
        """Start a server, which the rest of the page may ask, and wait for the line with its address."""
        server = processes.Command(*words, cwd=self.directory, HF_HUB_OFFLINE="1", COLUMNS="100")
        self._servers.append(server)
        while server.poll() is None and "http://" not in "".join(server.texts()):
            time.sleep(0.1)
        return subprocess.CompletedProcess(words, server.poll() or 0, *server.texts())

    def _judge(self, command: str, done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
        problems = done.stderr.strip().splitlines()
        elsewhere = done.returncode == 2 and problems and ELSEWHERE.search(" ".join(problems[-3:]))
        judged = done.returncode == 4 and "--check" in command  # a few steps of a table reproduce nothing
        if (expected := exit_code(command)) is not None:
            assert done.returncode == expected, f"{self.page}: {command}\nexit code {done.returncode}\n{done.stderr[-3000:]}"
            return done
        assert done.returncode == 0 or elsewhere or judged, (
            f"{self.page}: {command}\nexit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
        )
        return done


def other_program(words: list[str], stdin: str, directory: Path) -> subprocess.CompletedProcess:
    """Run a program that is not debft, or check what it would be given where it would change the machine."""
    nothing = subprocess.CompletedProcess(words, 0, "", "")
    match words:
        case ["make", *targets]:
            return subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True)
        case [("pip" | "pipx" | ".venv/bin/pip"), *_] | ["python", "-m", "pip", *_]:
            known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            for extras in re.findall(r"\[([\w,]+)\]", " ".join(words)):
                assert set(extras.split(",")) <= set(known), words
            return nothing
        case ["." | "source", ".venv/bin/activate"] | [("git" | "docker" | "cd"), *_]:
            return nothing
        case ["hf", "jobs", "run", *rest]:
            return hub_command("jobs", "run", "--dry-run", *rest, directory=directory)
        case ["hf", *_]:
            return nothing
        case ["python", script, *_] if script.endswith(".py") and (ROOT / script).is_file():
            return nothing
    if words[0] == "python":
        words = [sys.executable, *words[1:]]
    elif shutil.which(words[0]) is None:
        return nothing  # jq, curl: not on every machine
    return subprocess.run(
        words, cwd=directory, input=stdin, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )


def hub_command(*words: str, directory: Path) -> subprocess.CompletedProcess:
    """Run the hub's command, `hf`, of the installed huggingface_hub; a job is shown by `--dry-run`, for which no network is needed."""
    return subprocess.run(
        [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()", *words],
        cwd=directory,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_TOKEN": "hf_none", "COLUMNS": "200"},
    )
