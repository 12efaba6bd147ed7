"""A process whose every system call on files is seen before it happens, by whichever library it is made, and can be made to fail.

Linux hands the calls of a process to another one (seccomp's user notifications), which lets each go on or answers it with an error in
the kernel's place. So Python's own writes are met as well as those of safetensors and tokenizers, and nothing of debft is replaced.
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# The kind of each call, its number on x86_64 and on arm64 (None: it has none), and where its paths are: a letter for each argument,
# `d` a directory that the path behind it is relative to, `p` a path, `f` an open file, `o` the flags of an open, `.` anything else.
# Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux 6.6.
CALLS = (
    ("open", 2, None, "po"),
    ("open", 85, None, "p"),
    ("open", 257, 56, "dpo"),
    ("write", 1, 64, "f"),
    ("write", 18, 68, "f"),
    ("write", 20, 66, "f"),
    ("write", 40, 71, "f"),  # sendfile, by which shutil copies
    ("write", 326, 285, "..f"),  # copy_file_range
    ("write", 76, 45, "p"),  # truncate
    ("write", 77, 46, "f"),  # ftruncate
    ("write", 285, 47, "f"),  # fallocate
    ("fsync", 74, 82, "f"),
    ("fsync", 75, 83, "f"),  # fdatasync
    ("rename", 82, None, "pp"),
    ("rename", 264, 38, "dpdp"),
    ("rename", 316, 276, "dpdp"),
    ("unlink", 87, None, "p"),
    ("unlink", 84, None, "p"),  # rmdir
    ("unlink", 263, 35, "dp"),
    ("mkdir", 83, None, "p"),
    ("mkdir", 258, 34, "dp"),
)
KINDS = ("open", "write", "fsync", "rename", "unlink", "mkdir")
MACHINES = {"x86_64": (1, 317), "aarch64": (2, 277)}  # the column of CALLS, and the number of seccomp itself
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
RETURN_NOTIFY, RETURN_ALLOW, GO_ON = 0x7FC00000, 0x7FFF0000, 1
RECEIVE, SEND = 0xC0502100, 0xC0182101  # ioctl numbers of a listener
QUESTION, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
AT_FDCWD = -100


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that is about to happen.

    kind: one of KINDS
    path: the file or directory that it is about, `target` the new name of a rename
    flags: of an open
    """

    kind: str
    path: str
    target: str = ""
    flags: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.target or self.path}"


def why_not() -> str | None:
    """Return why the calls of a process cannot be seen here, None where they can."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return f"system calls are followed on Linux x86_64 and aarch64 alone, this is {sys.platform} {platform.machine()}"
    return _refused()


@cache
def _refused() -> str | None:
    """Return why the kernel, or the container, does not let a process listen to another one."""
    code = watched(lambda: 0, lambda call: 0, Path(os.devnull))
    return None if code == 0 else f"the kernel does not hand out the system calls of a process (seccomp: {os.strerror(code)})"


def watched(action: Callable[[], int], answer: Callable[[Call], int], output: Path) -> int:
    """Run `action` in a fork of this process, with stdout and stderr in the file `output`, and return its exit code.

    answer: asked before each call of the fork; 0 lets the call happen, another number is the error that the fork sees in its place
    The exit code is 1, as Python's own, where `action` raises; minus the signal where one ended the fork. The process that calls this
    must have no thread at work: a fork does not have it.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        ours.close()
        _be_watched(action, theirs, output)
    theirs.close()
    with ours:
        message, handles, *_ = socket.recv_fds(ours, 16, 1)
    if handles:
        try:
            _answer_all(handles[0], answer)
        finally:
            os.close(handles[0])  # every call that is left fails now, should the answers have ended by an error
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if handles else int(message or b"5")


def _be_watched(action: Callable[[], int], to_parent: socket.socket, output: Path) -> None:
    """Be the fork: never return."""
    code = 1
    try:
        speak_into(output)
        try:
            listener = _listener()
        except OSError as error:
            to_parent.send(str(error.errno).encode())
            os._exit(0)
        socket.send_fds(to_parent, [b"0"], [listener])
        os.close(listener)
        to_parent.close()
        code = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def speak_into(output: Path) -> None:
    """Have this process write what it says into a file, whatever its stdout and stderr were."""
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(handle, number)
        setattr(sys, name, open(number, "w", encoding="utf-8", buffering=1, closefd=False))  # noqa: SIM115


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("value", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def _listener() -> int:
    """Have every call of CALLS that this process makes from now on answered by whoever holds the file that is returned."""
    column, seccomp = MACHINES[platform.machine()]
    numbers = [entry[column] for entry in CALLS if entry[column] is not None]
    load, jump, leave = 0x20, 0x15, 0x06  # the first word of what the filter is given is the number of the call
    code = [(load, 0, 0, 0)]
    code += [(jump, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    code += [(leave, 0, 0, RETURN_ALLOW), (leave, 0, 0, RETURN_NOTIFY)]
    program = _Program(len(code), (_Instruction * len(code))(*(_Instruction(*one) for one in code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(seccomp, SECCOMP_SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def _answer_all(listener: int, answer: Callable[[Call], int]) -> None:
    """Answer the calls of the fork until it has ended."""
    column = MACHINES[platform.machine()][0]
    kinds = {entry[column]: entry for entry in CALLS}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        if poll.poll()[0][1] & select.POLLHUP:
            return
        question = bytearray(QUESTION.size)
        try:
            fcntl.ioctl(listener, RECEIVE, question)
        except OSError as error:
            if error.errno == errno.ENOENT:  # the process was killed meanwhile
                continue
            raise
        identity, process, _, number, _, _, *arguments = QUESTION.unpack(question)
        refusal = answer(_call(process, kinds[number][0], kinds[number][3], arguments))
        reply = bytearray(ANSWER.pack(identity, 0, -refusal, 0 if refusal else GO_ON))
        try:
            fcntl.ioctl(listener, SEND, reply)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise


def _call(process: int, kind: str, form: str, arguments: list[int]) -> Call:
    """Return what a call is about, read from the memory of the process that makes it."""
    paths, folder, flags = [], "", 0
    for letter, value in zip(form, arguments, strict=False):
        if letter == "d":
            number = ctypes.c_int(value & 0xFFFFFFFF).value
            folder = "" if number == AT_FDCWD else _link(f"/proc/{process}/fd/{number}")
        elif letter == "p":
            paths.append(_absolute(_text(process, value), folder, process))
            folder = ""
        elif letter == "f":
            paths.append(_link(f"/proc/{process}/fd/{value & 0xFFFFFFFF}"))
        elif letter == "o":
            flags = value & 0xFFFFFFFF
    return Call(kind=kind, path=paths[0], target="".join(paths[1:]), flags=flags)


def _absolute(path: str, folder: str, process: int) -> str:
    return path if path.startswith("/") else os.path.join(folder or _link(f"/proc/{process}/cwd"), path)


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:  # not an open file
        return ""


def _text(process: int, address: int) -> str:
    """Return the path that lies at an address, which may be less than a page away from where memory ends."""
    found = b""
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        while b"\0" not in found:
            memory.seek(address + len(found))
            found += memory.read(4096 - (address + len(found)) % 4096)
    return os.fsdecode(found.partition(b"\0")[0])
