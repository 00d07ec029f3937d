"""A small process that has FFmpeg loaded and forks a child for each recording, in which nothing can do harm.

`main` runs in a Python of its own with the arguments FD and MEGABYTES. FD is a socket; each message on it is a question
of `serving.media.decode` (one byte) with two descriptors, the file and the socket for the messages that answer. A child
lives for one file, and dies when it is done, over its limits, or when the other end of its socket is closed. The kernel
limits its memory, its CPU seconds since it last brought sound, and what it can open: nothing, no file and no network.
"""

import contextlib
import io
import json
import os
import selectors
import signal
import socket
import struct
import sys
import wave
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, BinaryIO

from serving.contract.errors import SluiceError
from serving.media.decode import ERROR, READ, NoMedia, messages
from serving.media.reading import Message

HEAD = struct.Struct("!cI")
"""Before each message: its kind and its length in bytes."""
DIED, ALIVE = b"X", b"K"
"""Kinds of messages beside the decoder's: the last of a child that was killed (the signal's number as text), and one
that only says that there is progress.
"""
CPU_S = 20
"""CPU seconds that a child may take without bringing sound."""


def send(line: socket.socket, kind: bytes, body: bytes) -> None:
    """Write one message; waits while the reader is behind."""
    line.sendall(HEAD.pack(kind, len(body)) + body)


def serve(control: socket.socket, megabytes: int) -> None:
    """Fork for whoever asks, until the other end of ``control`` is closed; then nothing is left behind."""
    _warm()
    wake, woken = socket.socketpair()
    for end in (wake, woken):
        end.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    asked, files, _, _ = socket.recv_fds(control, 1, 2)
                    if not asked:
                        for child in children:
                            os.kill(child, signal.SIGKILL)
                        return
                    if found := _fork(asked, files, megabytes):
                        children[found[0]] = found[1]
                        selector.register(found[1], selectors.EVENT_READ, found[0])
                elif key.fileobj is wake:
                    wake.recv(4096)
                elif key.data in children:  # nobody writes to a child: its reader has gone
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(key.data, signal.SIGKILL)
                    selector.unregister(key.fileobj)
            for child, status in _ended(children):
                line = children.pop(child)
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(line)
                _last_words(line, status)


def _ended(children: dict[int, socket.socket]) -> list[tuple[int, int]]:
    found = ((child, os.waitpid(child, os.WNOHANG)) for child in list(children))
    return [(child, status) for child, (pid, status) in found if pid]


def _last_words(line: socket.socket, status: int) -> None:
    with line, contextlib.suppress(OSError):
        if os.WIFSIGNALED(status):
            line.setblocking(False)
            send(line, DIED, str(os.WTERMSIG(status)).encode())


def _fork(asked: bytes, files: list[int], megabytes: int) -> tuple[int, socket.socket] | None:
    """The child and its socket; None, and the asker's line is closed, where no process or descriptor is left."""
    try:
        file, answer = files
        child = os.fork()
    except (ValueError, OSError):
        for one in files:
            os.close(one)
        return None
    if not child:
        try:
            _child(asked, file, answer, megabytes)
        finally:
            os._exit(0)
    os.close(file)
    return child, socket.socket(fileno=answer)


def _child(asked: bytes, file: int, answer: int, megabytes: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kept = sorted((file, answer))
    for low, high in zip([3, kept[0] + 1, kept[1] + 1], [*kept, max(kept) + 1024], strict=True):
        os.closerange(low, high)
    os.dup2(0, 2)
    with socket.socket(fileno=answer) as line, os.fdopen(file, "rb") as media:
        more_time = _limit(megabytes)

        def alive() -> None:
            more_time()
            send(line, ALIVE, b"")

        for kind, body in answers(media, asked, alive, megabytes):
            send(line, kind, body)


def answers(media: BinaryIO, asked: bytes, alive: Callable[[], None], megabytes: int) -> Iterator[Message]:
    """Every message about an open file, the last of them perhaps an error: JSON of its status and sentence."""
    try:
        yield from messages(media, asked, alive)
        return
    except SluiceError as known:
        error = known
    except MemoryError:
        text = f"reading it takes more than {megabytes} MB; its index is broken or made to do harm, convert it first"
        error = NoMedia(text)
    except Exception as unknown:  # whatever a decoder comes up with: the fault is the file's
        error = NoMedia(f"it cannot be decoded ({unknown.__class__.__name__}); send it as wav or mp3")
    yield ERROR, json.dumps({"status": getattr(error, "status", 400), "text": str(error)}).encode()


def _limit(megabytes: int) -> Any:
    """Take from this process what it has no need of; returns how it says that it still brings sound."""
    import ctypes
    import resource

    def limit(what: int, most: int) -> None:
        with contextlib.suppress(ValueError, OSError):  # macOS knows some of them by name only
            resource.setrlimit(what, (most, most))

    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # the first to go where memory ends
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        limit(resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + (megabytes << 20))
    os.nice(5)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_NOFILE, 0)

    def alive() -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        most, hard = int(used.ru_utime + used.ru_stime) + CPU_S, resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (most if hard < 0 else min(most, hard), hard))

    alive()
    return alive


def _warm() -> None:
    """Decode a little, so that no child has to import anything, which it could not."""
    import av

    for module in ("ctypes", "resource", *(one.name for one in walk_packages(av.__path__, "av."))):
        if not module.endswith("__main__"):
            import_module(module)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(44_100)
        out.writeframes(bytes(4 * 44_100))
    for content in (file.getvalue(), b"no sound at all" * 100):
        list(answers(io.BytesIO(content), READ, lambda: None, 0))


def main() -> None:
    """See the module."""
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
