"""Headless Chromium over the DevTools protocol, as far as a test of one page needs it."""

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Browser:
    """One tab. ``errors`` are the page's uncaught exceptions and what it logged as an error."""

    def __init__(self, folder: Path) -> None:
        flags = ["headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run", "mute-audio"]
        flags += ["autoplay-policy=no-user-gesture-required", "remote-debugging-port=0", f"user-data-dir={folder}"]
        assert CHROMIUM
        self._process = subprocess.Popen(
            [CHROMIUM, *(f"--{flag}" for flag in flags), "about:blank"], stderr=subprocess.DEVNULL
        )
        self._runner = asyncio.Runner()
        self._ids = itertools.count(1)
        self.errors: list[str] = []
        self._runner.run(self._connect(folder / "DevToolsActivePort"))
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    async def _connect(self, port_file: Path) -> None:
        until = time.monotonic() + 30
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert time.monotonic() < until, "Chromium did not start"
            await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            tabs = await answer.json()
        url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self._socket = await self._session.ws_connect(url, max_msg_size=0)

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of one command; events that come meanwhile are looked at for errors."""
        return self._runner.run(asyncio.wait_for(self._call(method, parameters), 30))

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self._socket.receive()).data)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._look(message)

    def _look(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> None:
        """Until an expression is true."""
        until = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > until:
                page = self.run("document.body?.innerText")  # a page that is being loaded has no body yet
                raise AssertionError(f"{script} never became true; errors: {self.errors}; page: {page}")
            time.sleep(0.02)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def press(self, selector: str) -> None:
        """Click the middle of an element, as a pointer does: once it stands still and nothing lies over it."""
        self.run(f"window.wanted = document.querySelector({json.dumps(selector)})")
        self.run("wanted.scrollIntoView({block: 'center'})")
        frame = "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
        middle = "(b => [b.x + b.width / 2, b.y + b.height / 2])(wanted.getBoundingClientRect())"
        before = None
        while (box := self.run(f"{frame}.then(() => {middle})")) != before:
            before = box
        self.wait(f"wanted.contains(document.elementFromPoint({box[0]}, {box[1]}))")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def key(self, name: str) -> None:
        """Press one key, such as Enter."""
        text = {"Enter": "\r", " ": " "}.get(name, "")
        code = {"Enter": 13, " ": 32, "Tab": 9}[name]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if kind == "keyDown" and text else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code, **more)

    def shoot(self, target: Path, whole: bool = False) -> None:
        """Write a picture of what can be seen (or of the whole page)."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        target.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        async def leave() -> None:
            await self._socket.close()
            await self._session.close()

        self._runner.run(leave())
        self._runner.close()
        self._process.terminate()
        self._process.wait(10)
