"""The server's answers: a page to try the model, its labels, and what it is.

Whatever is wrong with a request is answered by one line of JSON, {"error": ...}, that names nothing of this machine.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from debft.console import say
from debft.errors import DebftError, InputError
from debft.output.serve.asking import BODY, read_asked
from debft.output.serve.batching import Batcher, BusyError, EndingError
from debft.output.serve.hosts import Hosts
from debft.output.serve.page import Page
from debft.output.text import counted
from debft.tasks import Task

MOST_BYTES = 2**20  # of a body
SECONDS_TO_SEND = 20.0  # in which a body must have arrived
JSON = "application/json"
FAILED = "the model cannot answer this; the log of the server says why"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LATER = {"Retry-After": "1"}  # second
PATHS = ("/", "/predict", "/health", "/info")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service is a loaded model with what is said of it, and the rules by which it is asked.

    task: that of the model
    batcher: gives the answers
    info: the content of GET /info
    page: that of GET /
    hosts: those that may be asked
    seconds: after which a request that has no answer gets none
    """

    task: Task
    batcher: Batcher
    info: dict[str, Any]
    page: Page
    hosts: Hosts = field(default_factory=Hosts)
    seconds: float = 60.0

    async def predict(self, request: Request) -> Response:
        """Label the rows of the body."""
        _check_kind(request)
        asked = read_asked(await _body(request), self.task)
        request.state.rows = len(asked.examples)
        most = self.batcher.most_waiting
        if asked.size > most:
            raise HTTPException(413, f"{BODY}: expected at most {most:,} texts in a request, got {asked.size:,}; send it in parts")
        try:
            async with asyncio.timeout(self.seconds):
                rows = await self.batcher.answer(asked)
        except BusyError:
            raise HTTPException(503, f"busy: {self.batcher.waiting:,} texts are waiting; try again", LATER) from None
        except EndingError:
            raise HTTPException(503, "the server is ending") from None
        except TimeoutError:
            raise HTTPException(503, f"no answer within {self.seconds:g} seconds; try again with less", LATER) from None
        except DebftError as error:
            say(f"the model failed: {'; '.join(error.problems)}")
            return json_response({"error": FAILED}, 500)
        return json_response(rows[0] if asked.is_one else rows)

    async def show_page(self, request: Request) -> Response:
        """Give the page to try the model."""
        return HTMLResponse(self.page.html, headers={"Content-Security-Policy": self.page.policy})

    async def show_info(self, request: Request) -> Response:
        """Say what the model is."""
        return json_response(self.info)

    async def show_health(self, request: Request) -> Response:
        """Say that the server answers, and how much it has to do."""
        return json_response({"status": "ok", "waiting": self.batcher.waiting})


def build_app(service: Service) -> ASGIApp:
    """Return the application of a service."""
    app = Starlette(
        routes=[
            Route("/", service.show_page),
            Route("/predict", service.predict, methods=["POST"]),
            Route("/info", service.show_info),
            Route("/health", service.show_health),
        ],
        exception_handlers={HTTPException: _refused, InputError: _wrong_input, ClientDisconnect: _gone, Exception: _bug},
    )
    app.router.redirect_slashes = False
    return Door(app=app, hosts=service.hosts)


@dataclass(frozen=True, kw_only=True)
class Door:
    """Every request comes through the door: it keeps out who may not ask, and logs what was asked without the texts."""

    app: ASGIApp
    hosts: Hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        started, status = time.perf_counter(), 500

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *((k.lower().encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        headers = Request(scope).headers
        problem = self.hosts.problem(headers.get("host", ""), headers.get("origin"))
        answer = self.app if problem is None else json_response({"error": problem}, 403)
        try:
            await answer(scope, receive, with_headers)
        finally:
            _log(scope, status, time.perf_counter() - started)


def _log(scope: Scope, status: int, seconds: float) -> None:
    """Print the line of a request. Paths that are none of ours may hold anything, and a healthy server needs no line."""
    path = scope["path"] if scope["path"] in PATHS else "elsewhere"
    if path == "/health" and status == 200:
        return
    rows = scope.get("state", {}).get("rows")
    asked = "" if rows is None else f"  {counted(rows, 'row')}"
    method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
    say(f"{time.strftime('%H:%M:%S')}  {method} {path}  {status}{asked}  {1000 * seconds:,.0f} ms")


def _check_kind(request: Request) -> None:
    """Raise HTTPException unless the body is said to be plain JSON: what a page elsewhere may send unasked never is."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise HTTPException(415, f"Content-Type: expected {JSON}, got {kind[:100]!r}")
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise HTTPException(415, f"Content-Encoding: expected none, got {coding[:100]!r}")


async def _body(request: Request) -> bytes:
    """Return the body. Raises HTTPException where it is too large or comes too slowly."""
    too_large = HTTPException(413, f"{BODY}: expected at most {MOST_BYTES:,} bytes; send the rows in parts")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > MOST_BYTES:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS_TO_SEND):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MOST_BYTES:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, f"{BODY}: expected all of it within {SECONDS_TO_SEND:g} seconds") from None
    return bytes(content)


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return JSON. Half of a surrogate pair, which error lines may quote, stays an escape."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    return Response(body + b"\n", status, headers, media_type=JSON)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers, line = dict(error.headers or {}), error.detail
    if error.status_code == 404:
        line = f"no such page; there are {', '.join(PATHS)}"
    elif error.status_code == 405:
        line = f"{request.url.path}: expected {headers.get('Allow', 'another method')}, got {request.method[:20]}"
    return json_response({"error": line}, error.status_code, headers)


async def _wrong_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    return json_response({"error": "; ".join(error.problems)}, 400)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _bug(request: Request, error: Exception) -> Response:
    return json_response({"error": FAILED}, 500)
