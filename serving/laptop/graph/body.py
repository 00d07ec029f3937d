"""A request body that several steps may read: small ones in memory, a recording of hours in a temporary file."""

import os
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from aiohttp import StreamReader

_IN_MEMORY = 4 << 20
_PIECE = 1 << 18


class Body:
    """Bytes that can be sent again and at once; ``size`` in bytes. Close it when the request is over."""

    def __init__(self, data: bytes = b"", file: IO[bytes] | None = None, size: int = 0):
        self._data, self._file = data, file
        self.size = size or len(data)

    @classmethod
    def of(cls, data: bytes) -> "Body":
        """A body of bytes that are here already."""
        return cls(data)

    @classmethod
    async def gather(cls, stream: StreamReader) -> "Body":
        """Read a request to its end, past 4 MiB into a file without a name. OSError when the disk is full."""
        held, size = bytearray(), 0
        file: IO[bytes] | None = None
        async for piece in stream.iter_any():
            size += len(piece)
            held += piece
            if size > _IN_MEMORY:
                # Closed by `close`, since it outlives this call.
                file = file or tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
                _write(file, held)
                held.clear()
        return cls(bytes(held), file, size)

    def send(self) -> AsyncIterator[bytes]:
        """The bytes piece by piece; may be called again while another one is being sent."""
        return self._pieces() if self._file else self._held()

    def read(self) -> bytes:
        """All of it, in memory."""
        return self._data if self._file is None else os.pread(self._file.fileno(), self.size, 0)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()

    async def _held(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self._data), _PIECE):
            yield self._data[at : at + _PIECE]

    async def _pieces(self) -> AsyncIterator[bytes]:
        assert self._file is not None
        at = 0
        while piece := os.pread(self._file.fileno(), _PIECE, at):
            at += len(piece)
            yield piece


def _write(file: IO[bytes], data: bytearray) -> None:
    view = memoryview(data)
    while view:
        done = file.write(view)
        view = view[done:]
    view.release()
