"""Files are whole or absent, synced, and a disk that refuses is one line of one error."""

import errno
import json
import os
import resource
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from debft.errors import InputError
from debft.runs.storage import (
    DiskError,
    append_line,
    disk_errors,
    failing_disk,
    remove_directory,
    remove_partial,
    sync,
    sync_or_rewrite,
    whole_directory,
    write_atomically,
    write_together,
)


@pytest.fixture
def small_files():
    """No file may be larger than 1,000 bytes, for root as well: it stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fail(monkeypatch, name, number=errno.ENOSPC, after=0):
    """`os.<name>` refuses from its call number `after` on."""
    real, calls = getattr(os, name), []

    def refuse(*args, **kwargs):
        calls.append(args)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, refuse)


def content_of(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_write_that_is_refused_leaves_what_was_there_and_says_where_and_why(tmp_path, monkeypatch, call, number):
    write_atomically(tmp_path / "x", b"before")
    fail(monkeypatch, call, number)
    with pytest.raises(DiskError) as raised:
        write_atomically(tmp_path / "x", b"after")
    assert str(raised.value).startswith(f"{tmp_path}: cannot be written: {os.strerror(number)}; ")
    assert (raised.value.exit_code, len(raised.value.problems)) == (5, 1)
    assert content_of(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"before"


def test_write_syncs_the_file_before_its_rename_and_the_directory_behind_it(tmp_path, monkeypatch):
    """Else a power cut leaves an empty file under the name, or none."""
    done = []
    fsync, replace = os.fsync, os.replace
    kind = lambda handle: "directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(kind(handle)), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), replace(a, b)))
    write_atomically(tmp_path / "new" / "x", b"1")
    assert done == ["directory", "file", "rename", "directory"]  # the first is the entry of the new directory


@pytest.mark.parametrize("write", ["safetensors", "tokenizers", "python"])
def test_error_of_a_library_for_a_full_disk_is_the_same_error(tmp_path, small_files, write):
    tokenizer = Tokenizer(models.WordLevel({str(number): number for number in range(1000)}, unk_token="0"))
    writers = {
        "safetensors": lambda path: save_file({"a": torch.zeros(1000)}, path),
        "tokenizers": lambda path: tokenizer.save(str(path)),
        "python": lambda path: path.write_bytes(b"0" * 2000),
    }
    with pytest.raises(DiskError, match="cannot be written: File too large"), whole_directory(tmp_path / "model") as folder:
        writers[write](folder / "x")
    assert content_of(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (ValueError("no"), InputError("yours"), KeyboardInterrupt()):
        with pytest.raises(type(error)), disk_errors(tmp_path):
            raise error


def test_directory_takes_the_place_of_the_one_before_only_when_it_is_whole(tmp_path):
    for text in ("before", "after"):
        with whole_directory(tmp_path / "model") as folder:
            (folder / text).write_text(text)
    assert content_of(tmp_path) == ["model", "model/after"]
    with pytest.raises(ZeroDivisionError), whole_directory(tmp_path / "model") as folder:
        (folder / "half").write_text("")
        1 / 0  # noqa: B018
    assert content_of(tmp_path) == ["model", "model/after"]


def test_directory_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    with whole_directory(tmp_path / "model") as folder:
        (folder / "before").write_text("")
    rename, done = os.rename, []

    def second_fails(a, b):
        done.append(b)
        if len(done) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(a, b)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(DiskError, match="Input/output"), whole_directory(tmp_path / "model") as folder:
        (folder / "after").write_text("")
    assert content_of(tmp_path) == ["model", "model/before"]


@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_directory_that_is_refused_leaves_nothing_half_written(tmp_path, monkeypatch, call):
    fail(monkeypatch, call)
    with pytest.raises(DiskError, match="No space left"), whole_directory(tmp_path / "model") as folder:
        (folder / "x").write_text("x")
    assert content_of(tmp_path) == []


def test_second_file_that_is_refused_takes_the_first_with_it(tmp_path, monkeypatch):
    fail(monkeypatch, "replace", after=1)
    with pytest.raises(DiskError):
        write_together(tmp_path, {"predictions.json": b"{}", "na_prob.json": b"{}"})
    assert content_of(tmp_path) == []


def test_line_is_appended_whole_or_not_at_all(tmp_path, small_files):
    row = json.dumps({"step": 1, "text": "x" * 380})
    append_line(tmp_path / "log", row)
    append_line(tmp_path / "log", row)
    with pytest.raises(DiskError, match="cannot be written: File too large"):
        append_line(tmp_path / "log", row)
    assert (tmp_path / "log").read_text().splitlines() == [row, row]


def test_what_a_process_left_half_written_is_removed(tmp_path):
    child = (
        "import os, sys; from pathlib import Path; from debft.runs.storage import whole_directory, write_atomically; import debft.runs.storage\n"
        "os.replace = lambda *_: os._exit(9)\n"
        "with whole_directory(Path(sys.argv[1]) / 'model') as folder:\n"
        "    (folder / 'x').write_text('x'); write_atomically(Path(sys.argv[1]) / 'result.json', b'x')"
    )
    assert subprocess.run([sys.executable, "-c", child, str(tmp_path)]).returncode == 9
    (tmp_path / "notes.txt").write_text("mine")
    assert len(content_of(tmp_path)) == 4
    remove_partial(tmp_path)
    assert content_of(tmp_path) == ["notes.txt"]


def test_half_written_file_that_the_disk_keeps_once_is_gone_all_the_same(tmp_path, monkeypatch):
    unlink, asked = os.unlink, []

    def fails_once(path, **options):
        asked.append(path)
        if len(asked) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path, **options)

    fail(monkeypatch, "replace")
    monkeypatch.setattr(os, "unlink", fails_once)
    with pytest.raises(DiskError, match="No space left"):
        write_atomically(tmp_path / "x", b"content")
    assert (len(asked), content_of(tmp_path)) == (2, [])


def test_half_written_files_of_others_stay_where_one_name_is_asked_for(tmp_path):
    for name in (".a.safetensors.1.partial", ".b.safetensors.2.partial"):
        (tmp_path / name).write_text("")
    remove_partial(tmp_path, "a.safetensors")
    assert content_of(tmp_path) == [".b.safetensors.2.partial"]


def test_disk_that_fails_is_named_by_its_file_also_below_the_error_of_a_library(tmp_path):
    """transformers raises an OSError without a number where a file cannot be read."""
    for number in (errno.EIO, errno.ENOSPC, errno.EINTR):
        with pytest.raises(DiskError, match=f"^{tmp_path}/x: the disk failed: {os.strerror(number)};") as raised, failing_disk():
            try:
                raise OSError(number, os.strerror(number), f"{tmp_path}/x")
            except OSError:
                raise OSError("this is no configuration") from None
        assert raised.value.exit_code == 5


def test_missing_file_is_no_failure_of_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError), failing_disk():
        (tmp_path / "x").read_bytes()


def test_removal_that_dies_half_way_leaves_no_half_under_the_name(tmp_path, monkeypatch):
    with whole_directory(tmp_path / "step-000001") as folder:
        (folder / "x").write_text("x")
    monkeypatch.setattr("debft.runs.storage.shutil.rmtree", lambda *_, **__: None)
    remove_directory(tmp_path / "step-000001")
    assert not (tmp_path / "step-000001").exists()


def test_failing_sync_leaks_no_file_descriptor(tmp_path, monkeypatch):
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: opened.append(real(*args, **kwargs)) or opened[-1])
    fail(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        sync(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[-1])


def test_log_whose_sync_fails_is_written_anew(tmp_path, monkeypatch, capsys):
    """A second sync would succeed, without what the first one lost."""
    append_line(tmp_path / "log", "1")
    before, fsync, synced = (tmp_path / "log").stat().st_ino, os.fsync, []

    def fails_once(handle):
        synced.append(os.fstat(handle).st_ino)
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fails_once)
    sync_or_rewrite(tmp_path / "log")
    after = (tmp_path / "log").stat().st_ino
    assert (tmp_path / "log").read_text() == "1\n" and after != before and after in synced
    assert "log: cannot be synced: Input/output error; writing it anew" in capsys.readouterr().err


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_written_file_has_the_mode_that_the_user_gives_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "x", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode
