"""The server itself: it takes its port, loads the model, answers until a signal ends it."""

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from debft.console import say
from debft.errors import InputError, Interrupted
from debft.runtime.signals import SIGNALS

SECONDS_TO_END = 3  # for the requests that are being answered when a signal comes
LONGEST_QUEUE = 128  # connections that the system keeps until they are taken
HIGHEST_RESERVED = 1023


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place is a port that is taken, where nobody is answered yet."""

    socket: socket.socket
    host: str

    @property
    def address(self) -> str:
        """Return the address that a browser is given; for all addresses of the machine that of this machine."""
        host, port = self.socket.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


@contextmanager
def taken(host: str, port: int) -> Iterator[Place]:
    """Take a port, 0 for any that is free, so that no other program gets it while the model is loaded. Raises InputError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host {host}: expected a name or address of this machine, found no such one") from None
    with socket.socket(family, kind, protocol) as own:
        if os.name == "posix":  # elsewhere it would let two programs take one port
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(address)
        except OSError as error:
            raise InputError(_refusal(error, host, port)) from None
        own.set_inheritable(False)
        yield Place(socket=own, host=host)


def _refusal(error: OSError, host: str, port: int) -> str:
    """Return the line for a port that cannot be taken."""
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: another program has it on {host}; end that one, give another port, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"--port {port}: not allowed to this user; give one above {HIGHEST_RESERVED:,}"
    return f"--host {host}: cannot be bound: {error.strerror or error}; give an address of this machine"


class Server(uvicorn.Server):
    """uvicorn's server, which ends on every signal that ends debft and leaves the exit code to the caller."""

    number = 0  # of the signal that came first

    def __init__(self, config: uvicorn.Config, give_up: Callable[[], None]) -> None:
        """Make the server. give_up: lets the requests that are left be answered by an error"""
        super().__init__(config)
        self.give_up = give_up

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let no one new in, and give up after a while what is not answered yet."""
        given_up = asyncio.get_running_loop().call_later(SECONDS_TO_END, self.give_up)
        await super().shutdown(sockets)
        given_up.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Within the block a signal lets the server end; a second Ctrl-C does not wait for anyone."""
        if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
            yield
            return

        def end(number: int, _frame: object) -> None:
            self.force_exit = self.force_exit or (self.number != 0 and number == signal.SIGINT)
            self.number, self.should_exit = self.number or number, True

        taken_over = [number for number in SIGNALS if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, end) for number in taken_over}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def build_server(app: ASGIApp, give_up: Callable[[], None]) -> Server:
    """Return the server of an application. It logs nothing by itself but errors, and trusts no header about who asks."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_END + 1,  # for the errors to be sent
        backlog=LONGEST_QUEUE,
    )
    return Server(config, give_up)


def answer_until_told(app: ASGIApp, place: Place, give_up: Callable[[], None]) -> None:
    """Answer until a signal comes, then raise Interrupted. give_up: as in `Server`"""
    server = build_server(app, give_up)
    server.run(sockets=[place.socket])
    name = signal.Signals(server.number).name if server.number else "the server"
    say(f"{name}: ended, {server.server_state.total_requests:,} requests were answered")
    raise Interrupted(server.number or signal.SIGTERM)
