"""Files are whole or absent, synced, and a disk that refuses is one line of one error."""

import errno
import json
import os
import re
import resource
import stat
import subprocess
import sys
from pathlib import Path

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
    make_directory,
    remove_directory,
    remove_partial,
    sync,
    sync_or_rewrite,
    unusable_paths,
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


def test_file_is_written_from_parts_that_are_not_in_memory_together(tmp_path):
    write_atomically(tmp_path / "x", (part for part in (b"1", memoryview(b"23"), b"", b"4")))
    assert (tmp_path / "x").read_bytes() == b"1234"


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


def test_error_of_the_disk_says_where_why_and_what_to_do(tmp_path):
    with pytest.raises(DiskError) as raised, disk_errors(tmp_path / "x", "read"):
        raise OSError(errno.EIO, "Input/output error")
    refusal = f"{tmp_path}/x: cannot be read: Input/output error"
    assert (raised.value.refusal, raised.value.exit_code) == (refusal, 5)
    assert str(raised.value) == f"{refusal}; make room or mend the disk, then run the same command again"
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no number"), "no number"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left on device"),
        (Exception("(os error 5)"), "Input/output error"),
    ],
    ids=str,
)
def test_reason_is_the_systems_also_in_the_text_of_a_library(tmp_path, error, reason):
    with pytest.raises(DiskError) as raised, disk_errors(tmp_path):
        raise error
    assert raised.value.refusal == f"{tmp_path}: cannot be written: {reason}"


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (ValueError("no"), InputError("yours"), InputError("x (os error 28)"), KeyboardInterrupt("(os error 28)")):
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


def test_directory_is_synced_with_all_in_it_before_its_rename_and_its_parent_behind_it(tmp_path, monkeypatch):
    """Else a power cut leaves the name without the files."""
    done, (fsync, rename) = [], (os.fsync, os.rename)

    def path_of(handle):
        return Path(f"/proc/self/fd/{handle}").readlink().relative_to(tmp_path).as_posix()

    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(path_of(handle)), fsync(handle)))
    monkeypatch.setattr(os, "rename", lambda a, b: (done.append("rename"), rename(a, b)))
    with whole_directory(tmp_path / "model") as folder:
        assert folder == tmp_path / f".model.{os.getpid()}.partial"
        (folder / "b").mkdir()
        (folder / "b" / "c").write_text("")
        done.clear()
    assert (set(done[:3]), done[3:]) == ({folder.name, f"{folder.name}/b", f"{folder.name}/b/c"}, ["rename", "."])


def test_directory_begins_empty_whatever_a_process_of_the_same_number_has_left(tmp_path):
    (tmp_path / f".model.{os.getpid()}.partial" / "x").mkdir(parents=True)
    (tmp_path / f".model.{os.getpid()}.old.partial" / "x").mkdir(parents=True)
    for _ in range(2):
        with whole_directory(tmp_path / "model") as folder:
            assert content_of(folder) == []
    assert content_of(tmp_path) == ["model"]


def test_directory_before_that_the_disk_keeps_is_no_error(tmp_path, monkeypatch):
    """The new one has the name; what is left of the old one is removed when the next run takes the lock."""
    (tmp_path / "model" / "before").mkdir(parents=True)
    fail(monkeypatch, "rmdir", errno.EIO)
    with whole_directory(tmp_path / "model") as folder:
        (folder / "after").write_text("")
    old = f".model.{os.getpid()}.old.partial"
    assert content_of(tmp_path) == sorted([old, f"{old}/before", "model", "model/after"])


def test_directory_that_is_refused_says_where(tmp_path, monkeypatch):
    fail(monkeypatch, "mkdir")
    with (
        pytest.raises(DiskError, match=f"^{tmp_path}: cannot be written: No space left on device;"),
        whole_directory(tmp_path / "x"),
    ):
        pass


def test_directory_that_cannot_be_moved_aside_stays(tmp_path, monkeypatch):
    (tmp_path / "model" / "before").mkdir(parents=True)
    fail(monkeypatch, "rename")
    with pytest.raises(DiskError, match="No space left"), whole_directory(tmp_path / "model") as folder:
        (folder / "after").write_text("")
    assert content_of(tmp_path) == ["model", "model/before"]


def test_files_are_written_together_into_a_directory_that_is_made(tmp_path):
    write_together(tmp_path / "a" / "b", {"one": b"1", "c/two": b"2"})
    assert content_of(tmp_path / "a") == ["b", "b/c", "b/c/two", "b/one"]
    assert [(tmp_path / "a" / "b" / name).read_bytes() for name in ("one", "c/two")] == [b"1", b"2"]


def test_name_that_is_as_long_as_a_name_may_be_is_written(tmp_path):
    """The name until then has more in it, and is cut."""
    write_atomically(tmp_path / ("x" * 255), b"content")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"content"


def test_file_has_a_name_of_its_own_until_it_is_whole(tmp_path, monkeypatch):
    """It begins with a dot and ends as all do that the next run may remove. Two writers do not meet."""
    names, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.append(Path(a).name), replace(a, b)))
    for _ in range(2):
        write_atomically(tmp_path / "result.json", b"1")
    assert all(re.fullmatch(r"\.result\.json\.[0-9a-f]{16}\.partial", name) for name in names)
    assert len(set(names)) == 2


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


def test_line_is_written_on_where_the_system_takes_a_part_of_it(tmp_path, monkeypatch):
    """As over a network, or at a signal."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:3]))
    append_line(tmp_path / "log", "first é")
    append_line(tmp_path / "log", "second")
    assert (tmp_path / "log").read_bytes() == "first é\nsecond\n".encode()


def test_line_that_fails_half_way_is_taken_back(tmp_path, monkeypatch):
    append_line(tmp_path / "log", "first")
    write, files = os.write, len(os.listdir("/proc/self/fd"))

    def half(handle, content):
        if len(content) < 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content[:3])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(DiskError) as raised:
        append_line(tmp_path / "log", "second")
    assert raised.value.refusal == f"{tmp_path}: cannot be written: No space left on device"
    assert (tmp_path / "log").read_bytes() == b"first\n"
    assert len(os.listdir("/proc/self/fd")) == files


def test_log_of_a_directory_that_is_gone_cannot_be_written(tmp_path):
    with pytest.raises(DiskError, match=f"^{tmp_path}/none: cannot be written: No such file or directory;"):
        append_line(tmp_path / "none" / "log", "x")


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


def test_link_to_a_directory_is_removed_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("mine")
    (tmp_path / f".model.{os.getpid()}.partial").symlink_to(tmp_path / "data")
    with whole_directory(tmp_path / "model"):
        pass
    assert content_of(tmp_path) == ["data", "data/x", "model"]


def test_directory_that_is_not_there_needs_no_removal(tmp_path):
    (tmp_path / "file").write_text("mine")
    remove_directory(tmp_path / "none")
    remove_directory(tmp_path / "file")
    assert content_of(tmp_path) == ["file"]


def test_removal_that_is_refused_says_where(tmp_path, monkeypatch):
    (tmp_path / "step-000001").mkdir()
    fail(monkeypatch, "rename", errno.EROFS)
    with pytest.raises(DiskError, match=f"^{tmp_path}: cannot be written: Read-only file system;"):
        remove_directory(tmp_path / "step-000001")
    assert content_of(tmp_path) == ["step-000001"]


def test_leftovers_that_the_disk_keeps_are_an_error(tmp_path, monkeypatch):
    (tmp_path / ".x.1.partial").write_text("")
    fail(monkeypatch, "unlink", errno.EIO)
    with pytest.raises(DiskError, match=f"^{tmp_path}: cannot be written: Input/output error;"):
        remove_partial(tmp_path)


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


def test_half_written_file_of_a_long_name_is_found_by_that(tmp_path, monkeypatch):
    name, unlink = "x" * 100, os.unlink
    fail(monkeypatch, "replace")
    monkeypatch.setattr(os, "unlink", lambda *_, **__: None)
    with pytest.raises(DiskError):
        write_atomically(tmp_path / name, b"1")
    monkeypatch.setattr(os, "unlink", unlink)
    assert len(content_of(tmp_path)) == 1
    remove_partial(tmp_path, name)
    assert content_of(tmp_path) == []


def test_disk_that_fails_is_named_by_its_file_also_below_the_error_of_a_library(tmp_path):
    """transformers raises an OSError without a number where a file cannot be read."""
    for number in (errno.EIO, errno.ENOSPC, errno.EINTR):
        with pytest.raises(DiskError, match=f"^{tmp_path}/x: the disk failed: {os.strerror(number)};") as raised, failing_disk():
            try:
                raise OSError(number, os.strerror(number), f"{tmp_path}/x")
            except OSError:
                raise OSError("this is no configuration") from None
        assert raised.value.exit_code == 5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "the disk failed: Input/output error"),
        (RuntimeError("I/O error: (os error 5)"), "the disk failed: Input/output error"),
        (RuntimeError("unable to open file </a> in read-only mode: Input/output error (5)"), "the disk failed: Input/output error"),
        (
            RuntimeError("unable to mmap 8 bytes from file </a>: I/O (5)\nat a line of its own"),
            "the disk failed: Input/output error",
        ),
        (OSError(errno.ESTALE, "Stale file handle", "/a/b"), "/a/b: the disk failed: Stale file handle"),
    ],
    ids=["no name", "library", "torch", "torch with more lines", "name"],
)
def test_failure_of_a_disk_is_told_with_the_file_where_it_is_known(error, said):
    with pytest.raises(DiskError) as raised, failing_disk():
        raise error
    assert raised.value.refusal == said
    assert raised.value.__cause__ is error
    with pytest.raises(DiskError) as raised, failing_disk(Path("/c")):  # the file that is read, where the error names none
        raise error
    assert raised.value.refusal == (said if said.startswith("/") else f"/c: {said}")


def test_failure_of_a_disk_is_found_below_the_cause_of_another_error():
    with pytest.raises(DiskError, match=r"^/a: the disk failed: No space left on device;"), failing_disk():
        raise OSError("this is no model") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EACCES, "Permission denied"), OSError("no number"), ValueError("x"), RuntimeError("(os error 13)")],
    ids=str,
)
def test_error_that_is_about_the_question_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, failing_disk():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "/a/b: expected a path that can be used, got: Permission denied; change that, or give another one"),
        (errno.EPERM, "/a/b: expected a path that can be used, got: Operation not permitted; change that, or give another one"),
        (errno.ELOOP, "/a/b: expected a path that can be used, got: Too many levels of symbolic links; give another one"),
        (errno.ENAMETOOLONG, "'/a/b': expected a path that can be used, got: File name too long; give another one"),
    ],
)
def test_path_that_the_system_will_not_look_up_is_named(number, said):
    with pytest.raises(InputError) as raised, unusable_paths():
        raise OSError(number, os.strerror(number), b"/a/b")
    assert raised.value.problems == (said,)


@pytest.mark.parametrize(
    "error", [OSError(errno.EPERM, "Operation not permitted"), OSError(errno.EIO, "x", "/a"), ValueError("x")], ids=str
)
def test_error_that_is_about_no_path_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, unusable_paths():
        raise error
    assert raised.value is error


def test_missing_file_is_no_failure_of_the_disk_and_no_unusable_path(tmp_path):
    with pytest.raises(FileNotFoundError), failing_disk(), unusable_paths():
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


def test_file_system_that_cannot_sync_a_directory_is_in_order(tmp_path, monkeypatch):
    """It answers EINVAL, as some network file systems do."""
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: opened.append(real(*args, **kwargs)) or opened[-1])
    fail(monkeypatch, "fsync", errno.EINVAL)
    sync(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[-1])


def test_parents_that_are_made_are_on_the_disk_one_after_another(tmp_path, monkeypatch):
    """The entry of each is in the directory above it; what was there before is left alone."""
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(Path(f"/proc/self/fd/{handle}").readlink()), fsync(handle)))
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and sorted(synced) == [tmp_path, tmp_path / "a"]
    synced.clear()
    make_directory(tmp_path / "a" / "b")
    assert synced == []


def test_log_that_can_be_neither_synced_nor_read_is_an_error(tmp_path):
    with pytest.raises(DiskError, match=f"^{tmp_path}/log: cannot be read: No such file or directory;"):
        sync_or_rewrite(tmp_path / "log")


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
    said = capsys.readouterr().err.replace("\n", "")
    assert said == f"warning: {tmp_path}/log: cannot be synced: Input/output error; writing it anew"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0, 0o666)])
def test_written_file_has_the_mode_that_the_user_gives_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "x", b"content")
        append_line(tmp_path / "log", "a line")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("x", "log")] == [mode, mode]
