"""The power fails before every call of a run that changes a file: what the disk has then must load, or resume to the same bits.

A run is recorded once. At each call it is known what the disk holds for sure: a file's content as it was when the file was last
synced, a directory's names as they were when the directory was. From there on every order is possible, so three disks are made:

- `synced`: nothing but that. Renames, new names and removals behind the last sync of their directory are undone.
- `named`: every name is there as the run left it, and the content that was not synced is lost: such a file is empty or as it was.
- `torn`: by a seed each directory is as it was synced or as the run left it, and each file is either, or cut anywhere in between.
"""

import errno
import os
import random
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from disk_run import check_goes_on, debft, uninterrupted, warm
from parts import Case, Part
from system_calls import Call

Image = dict[str, bytes | None]  # the content by path; None for a directory


@dataclass
class Disk:
    """What is in `root` while a run writes there, and what of it would be there after a power cut.

    Every file and directory has a number of its own, since the system gives the number of a removed one to the next.
    """

    root: Path
    numbers: dict[int, int] = field(default_factory=dict)  # of what is there, by the system's number
    names: dict[int, dict[str, int]] = field(default_factory=dict)  # synced names of a directory, each with a number
    contents: dict[int, bytes] = field(default_factory=dict)  # synced content of a file
    folders: set[int] = field(default_factory=set)
    count: int = 0

    def look(self) -> dict[str, int]:
        """Return the number of everything that is there, by path; "" is the root.

        A thread may still do what it was allowed to while another one asks, so that only what is seen twice is there.
        """
        there = self._walk()
        while there != (again := self._walk()):
            there = again
        self.numbers = {system: number for system, number in self.numbers.items() if system in there.values()}
        for path, system in there.items():
            if system not in self.numbers:
                self.count += 1
                self.numbers[system] = self.count
                if (self.root / path).is_dir():
                    self.folders.add(self.count)
        return {path: self.numbers[system] for path, system in there.items()}

    def _walk(self) -> dict[str, int]:
        """Return the system's number of everything that is there, by path."""
        there = {"": self.root.stat().st_ino}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    there[str(path.relative_to(self.root))] = path.lstat().st_ino
        return there

    def sync(self, path: str, there: dict[str, int]) -> None:
        """Keep what a file or directory holds at this moment."""
        if path not in there:
            return
        if there[path] in self.folders:
            self.names[there[path]] = self.names_now(path, there)
        else:
            self.contents[there[path]] = (self.root / path).read_bytes()

    def names_now(self, path: str, there: dict[str, int]) -> dict[str, int]:
        """Return the names in a directory as the run left it."""
        return {name: there[child] for child in there if child and _folder(child) == path for name in (child.rpartition("/")[2],)}

    def image(self, there: dict[str, int], named: bool, chance: random.Random | None = None) -> Image:
        """Return what a power cut leaves: with `named` all names as they are, with `chance` some of them, and some of the content."""
        places = {number: path for path, number in there.items()}
        image: Image = {}
        waiting = [("", there[""])]
        while waiting:
            path, number = waiting.pop()
            if number not in self.folders:
                image[path] = self._content(number, places, chance)
                continue
            if path:
                image[path] = None
            as_left = number in places and (chance.random() < 0.5 if chance else named)
            names = self.names_now(places[number], there) if as_left else self.names.get(number, {})
            waiting += [(f"{path}/{name}".lstrip("/"), child) for name, child in names.items()]
        return image

    def _content(self, number: int, places: dict[int, str], chance: random.Random | None) -> bytes:
        synced = self.contents.get(number, b"")
        if chance is None or number not in places or chance.random() < 0.3:
            return synced
        now = (self.root / places[number]).read_bytes()
        if not now.startswith(synced):
            return chance.choice((synced, now))
        return now[: chance.randint(len(synced), len(now))]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


@cache
def images() -> dict[str, Image]:
    """Return what the power can leave of a run, by the name of the case; what is the same as before is there once.

    Three runs are recorded: a new one, one that goes on behind its checkpoint of step 14, and one that takes the place of another.
    """
    uninterrupted()
    found: dict[str, Image] = {}
    for name, before, options in (
        ("new", None, ()),
        ("resumed", _interrupted, ("--resume",)),
        ("overwritten", debft, ("--overwrite",)),
    ):
        folder = Path(os.environ["TMPDIR"]) / name
        folder.mkdir()
        if before:
            before(folder)
        found |= {f"{name}, {case}": image for case, image in _recorded(folder, options).items()}
    return found


def _interrupted(folder: Path) -> None:
    """Leave a run whose disk failed at step 17."""
    lines = 0

    def refuse(call: Call) -> int:
        nonlocal lines
        lines += call.kind == "write" and call.path.endswith("run/steps.jsonl")
        return errno.EIO if lines == 17 else 0

    ended = debft(folder, answer=refuse)
    assert ended.code == 5, ended.text


def _recorded(folder: Path, options: tuple[str, ...]) -> dict[str, Image]:
    """Run in `folder`, where everything that is there is synced, and return what the power can leave."""
    disk, found, seen = Disk(root=folder), {}, set()
    kept: dict[bytes | None, bytes | None] = {}  # a content is in memory once, in however many images it is
    for path in (there := disk.look()):
        disk.sync(path, there)
    calls = 0

    def record(call: Call) -> int:
        nonlocal calls
        if call.kind == "open" and not call.flags & (os.O_CREAT | os.O_TRUNC):
            return 0
        calls += 1
        made = None
        while made is None:
            there = disk.look()
            with suppress(FileNotFoundError):  # a thread has just done what it was allowed to
                made = {
                    f"synced {calls}": disk.image(there, named=False),
                    f"named {calls}": disk.image(there, named=True),
                    f"torn {calls}": disk.image(there, named=True, chance=random.Random(calls)),
                }
        for name, image in made.items():
            key = tuple(sorted((path, content and hash(content)) for path, content in image.items()))
            if key not in seen:
                seen.add(key)
                found[name] = {path: kept.setdefault(content, content) for path, content in image.items()}
        if call.kind == "fsync":
            disk.sync(call.path.removeprefix(str(folder)).removeprefix("/"), there)
        return 0

    ended = debft(folder, *options, answer=record)
    assert ended.code == 0, ended.text
    return found | {"all done": disk.image(disk.look(), named=False)}


def check(folder: Path, image: Image) -> str:
    """Lay out what the power left, and resume; return what was there."""
    for path, content in sorted(image.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
    expected, _ = uninterrupted()
    said = check_goes_on(folder, expected)
    return next((line for line in said if "resum" in line or "already" in line or "afresh" in line), "")


def _run(image: Image, folder: Path) -> str:
    return warm().ask(check, folder, image)


@cache
def cases() -> list[Case]:
    """Every state of the disk. They are recorded once: a thread writes checkpoints, so that no two runs make their calls alike."""
    return [Case(name=name, run=partial(_run, image)) for name, image in warm().ask(images).items()]


PART = Part(
    name="power", claim="the power fails before every call that changes a file: 0 runs lost, 0 bits changed", cases=cases, few=6
)
