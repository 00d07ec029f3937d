"""Which files a source holds: a file, a folder or a bucket's prefix, listed and fetched through fsspec."""

import logging
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from components.common.records import mended
from serving.contract.errors import SluiceError

log = logging.getLogger(__name__)
SAMPLES = Path(__file__).with_name("samples")
REFERENCES = (".vtt", ".srt")
_OF_SIZE = re.compile(r"(?:_(?:gallery|avo|gvo|as|cc|active|speaker|shared_screen))*_\d{2,5}x\d{2,5}$|\.f\d{1,5}$")
"""What the names of Zoom's videos of a meeting, and of yt-dlp's formats of a video, have beyond their transcript's."""
_KIND = re.compile(
    r"\.(?:transcript|captions?|subtitles?|subs?|cc|sdh|forced|default|auto|orig|[a-z]{2,3}(?:[-_][a-z0-9]{2,8})*)$",
    re.IGNORECASE,
)
"""What stands between a transcript's stem and its ending: its language (BCP 47) or its kind."""
_BESIDE = {*REFERENCES, ".txt", ".md", ".json", ".yaml", ".yml", ".csv", ".html", ".py", ".pdf", ".log", ".parquet"}
"""What lies beside recordings and is none; every other file is tried, for names lie."""


@dataclass(frozen=True)
class RecordingSource:
    """A place with its recordings: paths relative to ``root``, sorted; ``beside`` the other files by relative path.

    ``single``: the place is one file, and what lies beside it need not be its own.
    """

    filesystem: Any
    root: str
    recordings: list[str]
    beside: frozenset[str]
    single: bool = False

    @contextmanager
    def local(self, file: str) -> Iterator[Path]:
        """A file on this machine while the block runs: itself, or a copy that is fetched and removed again."""
        full = f"{self.root}/{file}"
        if "file" in _protocols(self.filesystem):
            yield Path(full)
            return
        with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
            target = Path(folder) / PurePosixPath(file).name
            with self.filesystem.open(full, "rb") as remote, target.open("wb") as copy:
                shutil.copyfileobj(remote, copy, 1 << 20)
            yield target

    def text(self, file: str) -> str:
        """A file beside the recordings as text. Errors: `SluiceError` where its encoding cannot be told."""
        with self.filesystem.open(f"{self.root}/{file}", "rb") as stream:
            return _decoded(bytes(stream.read()), file)

    def changed_at(self, file: str) -> datetime:
        """When the file was last written (UTC); 1970 where the place does not say."""
        info = self.filesystem.info(f"{self.root}/{file}")
        when = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or 0
        return datetime.fromtimestamp(int(when), UTC) if isinstance(when, (int, float)) else when.astimezone(UTC)

    def reference(self, file: str) -> str:
        """The transcript beside a recording, "" when there is none: talk.vtt, talk.mp4.vtt, talk.en-US.srt or TALK.SRT
        of talk.mp4.

        Of several the one without a language is taken, then English, then the first by name; .vtt before .srt.
        """
        return min(self._transcripts.get(file, ()), key=_preference, default="")

    def unclaimed(self) -> list[str]:
        """Transcripts that belong to no recording, sorted."""
        claimed = {transcript for found in self._transcripts.values() for transcript in found}
        return sorted(
            file for file in self.beside if PurePosixPath(file).suffix.lower() in REFERENCES and file not in claimed
        )

    @cached_property
    def _transcripts(self) -> dict[str, list[str]]:
        """Transcripts by recording, of the same folder and name; case does not count."""
        named, found = defaultdict[tuple[PurePosixPath, str], set[str]](set), defaultdict[str, list[str]](list)
        for path in map(PurePosixPath, self.recordings):
            stem = path.stem.lower()
            for name in (path.name.lower(), stem, _OF_SIZE.sub("", stem)):
                named[path.parent, name].add(str(path))
        for path in map(PurePosixPath, self.beside):
            name = path.stem.lower()
            while (path.parent, name) not in named and _KIND.search(name):
                name = _KIND.sub("", name)
            for recording in named.get((path.parent, name), ()) if path.suffix.lower() in REFERENCES else ():
                found[recording].append(str(path))
        return found


def _preference(transcript: str) -> tuple[bool, bool, bool, str]:
    path = PurePosixPath(transcript)
    kinds = path.stem.lower().split(".")[1:]
    spoken = [kind for kind in kinds if _KIND.fullmatch(f".{kind}") and kind not in ("transcript", "captions", "auto")]
    english = any(kind == "en" or kind.startswith(("en-", "en_", "eng")) for kind in spoken)
    return bool(spoken) and not english, bool(spoken), path.suffix.lower() != ".vtt", transcript


def _decoded(data: bytes, name: str) -> str:
    """Text of UTF-8, UTF-16 (by its mark, or by its zeros) or Windows-1252. Errors: `SluiceError` for any other."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    pairs = max(1, min(len(data), 4096) // 2)
    for at, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = data[at:4096:2].count(0), data[1 - at : 4096 : 2].count(0)
        if zeros > pairs / 5 and others * 8 < zeros:
            return data.decode(encoding, errors="replace")
    text = data.decode("utf-8", errors="replace")
    broken, foreign = text.count("\ufffd"), sum(sign > "\x7f" for sign in text)
    if broken * 4 <= foreign or not broken:  # UTF-8, perhaps with a scratch
        return text
    if sum(byte > 0x7F for byte in data) > sum(65 <= byte & 0xDF <= 90 for byte in data) / 2:
        raise SluiceError(f"{name}: its text is neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8")
    return "".join(chr(b) if b in _NOT_IN_1252 else bytes([b]).decode("cp1252") for b in data)


_NOT_IN_1252 = (0x81, 0x8D, 0x8F, 0x90, 0x9D)


def open_source(source: str) -> RecordingSource:
    """List the recordings of ``source``: a file, a folder, ``s3://bucket/prefix`` (any fsspec URL), or "" for our own.

    Hidden files are passed over. Errors: `SluiceError` when the place cannot be read or holds no recording.
    """
    import fsspec

    place = source or str(SAMPLES)
    try:
        filesystem, root = fsspec.core.url_to_fs(place)
        root = root.rstrip("/")
        if not filesystem.exists(root):
            raise FileNotFoundError("no such file or folder")
        if filesystem.isfile(root):
            parent, name = root.rsplit("/", 1)
            around = _own(filesystem, parent, _relative(filesystem.ls(parent, detail=False), parent))
            return RecordingSource(filesystem, parent, [name], _beside(around), single=True)
        found = _own(filesystem, root, _relative(filesystem.find(root), root))
    except (OSError, ImportError, ValueError) as error:
        raise SluiceError(
            f"source {place}: cannot be read ({error}); name a file, a folder or an s3:// prefix"
        ) from error
    recordings = sorted(file for file in found if PurePosixPath(file).suffix.lower() not in _BESIDE)
    if not recordings:
        raise SluiceError(
            f"source {place}: no recording in it; name a folder or prefix that holds audio or video files"
        )
    return RecordingSource(filesystem, root, recordings, _beside(found))


def _own(filesystem: Any, root: str, files: list[str]) -> list[str]:
    """The files that are a folder's own. The log names links that leave a folder of this machine, pipes and devices."""
    if "file" not in _protocols(filesystem):
        return files
    own, real = [], os.path.realpath(root)
    for file in files:
        place = os.path.realpath(os.path.join(root, file))
        if not Path(place).is_relative_to(real):
            log.warning("skipped %s: a link that leaves the source", mended(file))
        elif os.path.exists(place) and not os.path.isfile(place):
            log.warning("skipped %s: not a regular file", mended(file))
        else:
            own.append(file)
    return own


def _protocols(filesystem: Any) -> tuple[str, ...]:
    return (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)


def _relative(paths: list[str], root: str) -> list[str]:
    names = (path.removeprefix(root).lstrip("/") for path in paths)
    return [name for name in names if name and not any(part.startswith(".") for part in name.split("/"))]


def _beside(files: list[str]) -> frozenset[str]:
    return frozenset(file for file in files if PurePosixPath(file).suffix.lower() in _BESIDE)
