"""A real headless Chromium, driven over the DevTools protocol on a pipe: no driver program, no port, no further package."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
SECONDS = 240.0  # for one answer, on a slow and busy machine


def find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One tab. `requests` collects the address of everything it asked for."""

    def __init__(self, program: str, profile: Path) -> None:
        self.requests: list[str] = []
        self.number, self.buffer = 0, b""
        read, self.out = os.pipe()
        self.into, write = os.pipe()
        # Chromium reads its commands from descriptor 3 and answers on 4.
        command = f'exec "$@" 3<&{read} 4>&{write}'
        arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with (profile / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", command, "bash", *arguments],
                pass_fds=(read, write),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        os.close(read)
        os.close(write)
        self.session: str | None = None
        target = next(t for t in self.ask("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events in between are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters} | (
            {"sessionId": self.session} if self.session else {}
        )
        os.write(self.out, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda message: message.get("id") == self.number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, address: str, width: int, height: int, dark: bool = False) -> None:
        """Show the page on a screen of that many CSS pixels, a phone's where it is narrow, and wait until it is loaded."""
        phone = width < 600
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.requests.clear()
        self.ask("Page.navigate", url=address)
        self._until(lambda message: message.get("method") == "Page.loadEventFired")
        self.evaluate("document.fonts.ready.then(() => 1)")

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript that the test brings along; the page itself needs none."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]))
        return path

    def pdf(self) -> bytes:
        return base64.b64decode(self.ask("Page.printToPDF")["data"])

    def close(self) -> None:
        self.session = None
        with contextlib.suppress(AssertionError, OSError):
            self.ask("Browser.close")
        os.close(self.out)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.into)

    def _until(self, wanted) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while True:
            while b"\0" not in self.buffer:
                ready, _, _ = select.select([self.into], [], [], max(0.0, deadline - time.monotonic()))
                chunk = os.read(self.into, 1 << 16) if ready else b""
                assert chunk, "the browser ended" if ready else f"the browser said nothing for {SECONDS:g} s"
                self.buffer += chunk
            line, _, self.buffer = self.buffer.partition(b"\0")
            message = json.loads(line)
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            if wanted(message):
                return message
