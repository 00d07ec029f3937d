"""Where recordings are decoded: in a process of their own each, under limits, gone as soon as nobody listens.

On Windows, which cannot fork, they are decoded right here, without those limits; the log says so once.
"""

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from serving.contract.errors import SluiceError
from serving.media.decode import ERROR, NoMedia
from serving.media.reading import END, Message
from serving.media.zygote import ALIVE, CPU_S, DIED, HEAD, answers

log = logging.getLogger(__name__)
T = TypeVar("T")

WAIT_S = 120.0
"""Seconds in which a decoder must say something."""
_LARGEST = 1 << 24
_FORKS = hasattr(os, "fork") and hasattr(socket, "send_fds")
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ")
"""What the decoders may see of the environment: no key, no token, no address."""


class Stopped(SluiceError):
    """A decoder that ended for no fault of its file: its reader was called off, or there was no room for it."""

    status = 503


class Leash:
    """Holds every recording that is opened inside `run`, so that all end at once, whatever they are doing.

    ``most``: seconds of sound that one of them may hold.
    """

    def __init__(self, most: float) -> None:
        self.most, self._is_cut = most, False
        self._lock = threading.Lock()
        self._lines: set[socket.socket] = set()
        self._kept: dict[int, tuple[Message, Generator[Message]]] = {}

    def keep(self, source: object, first: Message, rest: Generator[Message]) -> None:
        """Leave the messages about ``source`` to whoever reads it next."""
        self._kept[id(source)] = first, rest
        if self._is_cut:
            self.cut()

    def take(self, source: object) -> tuple[Message, Generator[Message]] | None:
        """What was kept of ``source``, once."""
        return self._kept.pop(id(source), None)

    def run(self, work: Callable[..., T], *args: object) -> T:
        """What ``work`` returns."""
        token = _LEASH.set(self)
        try:
            return work(*args)
        finally:
            _LEASH.reset(token)

    def cut(self) -> None:
        """End them, and any that is opened later: whoever reads them gets `Stopped`."""
        with self._lock:
            self._is_cut = True
            for line in self._lines:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
        while self._kept:
            self._kept.popitem()[1][1].close()

    def hold(self, line: socket.socket) -> None:
        """Take one more. Errors: `Stopped`."""
        with self._lock:
            if self._is_cut:
                raise Stopped("nobody waits for it any more")
            self._lines.add(line)

    def drop(self, line: socket.socket) -> None:
        """Let go of one that is done."""
        with self._lock:
            self._lines.discard(line)


_LEASH: ContextVar[Leash | None] = ContextVar("leash", default=None)


def leash() -> Leash | None:
    """The one that the running code was put on."""
    return _LEASH.get()


def start() -> None:
    """Have FFmpeg loaded before the first recording comes."""
    if _FORKS:
        _ZYGOTE.start()


def ask(file: BinaryIO, asked: bytes) -> Generator[Message]:
    """The messages of `serving.media.decode.messages`; closing the iterator ends the decoder.

    Errors, as sentences without the file's name: `NoMedia`, `SluiceError`, `Stopped`.
    """
    if not _FORKS:
        _warn()
        for kind, body in answers(file, asked, lambda: None, 0):
            yield _checked(kind, body)
        return
    held, line = leash(), _ZYGOTE.ask(file, asked)
    with line:
        try:
            if held:
                held.hold(line)
            yield from _answers(line)
        finally:
            if held:
                held.drop(line)


def _answers(line: socket.socket) -> Generator[Message]:
    line.settimeout(WAIT_S)
    while True:
        kind, size = HEAD.unpack(_exactly(line, HEAD.size))
        if size > _LARGEST:
            raise NoMedia("its decoder broke down; convert it first")
        body = _exactly(line, size)
        if kind != ALIVE:
            yield _checked(kind, body)
        if kind == END:
            return


def _checked(kind: bytes, body: bytes) -> Message:
    """The message. Errors: the one that it tells of."""
    if kind == ERROR:
        told = read_json(body)
        raise (NoMedia if told.get("status") == NoMedia.status else SluiceError)(str(told.get("text"))[:500])
    if kind == DIED:
        raise NoMedia(_why(int(body)))
    return kind, body


def read_json(body: bytes) -> dict[str, Any]:
    """A message's JSON. Errors: `NoMedia`, for a decoder that was taken over may send anything."""
    try:
        return dict(json.loads(body))
    except (ValueError, TypeError):
        raise NoMedia("its decoder broke down on it; convert it first") from None


def _exactly(line: socket.socket, size: int) -> bytes:
    body = bytearray()
    while len(body) < size:
        try:
            piece = line.recv(min(size - len(body), 1 << 20))
        except TimeoutError:
            raise NoMedia(f"its decoder brought nothing for {WAIT_S:g} s; convert it first") from None
        except OSError:
            piece = b""
        if not piece:
            raise Stopped("its decoder was stopped; try again")
        body += piece
    return bytes(body)


def _why(number: int) -> str:
    if number == getattr(signal, "SIGXCPU", -1):
        return f"reading it takes more than {CPU_S} s of computing without bringing sound; convert it first"
    return f"its decoder broke down on it ({signal.Signals(number).name}); it is broken, convert it first"


class _Zygote:
    """The process that `serving.media.zygote` describes; started when it is needed, and again should it die."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, file: BinaryIO, asked: bytes) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            for _ in range(2):
                control = self.start()
                try:
                    socket.send_fds(control, [asked], [file.fileno(), theirs.fileno()])
                    return ours
                except OSError:
                    self.stop()
        ours.close()
        raise Stopped("no decoder can be started; try again")

    def start(self) -> socket.socket:
        with self._lock:
            if self._control is None:
                root, megabytes = str(Path(__file__).parents[2]), str(_megabytes())
                paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
                environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
                environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1"}
                run = "from serving.media.zygote import main; main()"
                control, theirs = socket.socketpair()
                with theirs:
                    command = [sys.executable, "-P", "-c", run, str(theirs.fileno()), megabytes]
                    try:
                        self._process = subprocess.Popen(
                            command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, start_new_session=True,
                        )  # fmt: skip
                    except OSError:
                        control.close()
                        raise Stopped("no decoder can be started now; try again") from None
                self._control = control
                atexit.register(self.stop)
            return self._control

    def stop(self) -> None:
        with self._lock:
            if self._control is not None and self._process is not None:
                self._control.close()
                self._process.wait()
            self._control = self._process = None
            atexit.unregister(self.stop)


_ZYGOTE = _Zygote()


def _megabytes() -> int:
    """Memory that reading one recording may take: ``$SLUICE_MEDIA_MB``, by default 160: six hours of film fit."""
    text = os.environ.get("SLUICE_MEDIA_MB", "160")
    if not text.isdigit() or int(text) < 32:
        raise SluiceError(f"SLUICE_MEDIA_MB is {text[:20]!r}; expected whole megabytes, at least 32")
    return int(text)


@cache
def _warn() -> None:
    log.warning("recordings are decoded without limits of memory and time: this system cannot fork processes")
