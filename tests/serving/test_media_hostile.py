"""Recordings that are made to do harm: they cost little, reach nothing, and end when nobody waits for them."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hostile import huge_index, pictures, wav
from threaded import serving
from tones import RATE, record, sound
from toy_listener import Second, ToyListener
from toy_listener import wav as tone

from serving.core.limits import Limits
from serving.media import Leash, NoMedia, Recording, Stopped, blocks, probe

OPENAI = "/openai/v1/audio/transcriptions"
WRONG = {
    "no bits": wav(1, 16_000, 0),
    "255 bits": wav(1, 16_000, 255),
    "255 channels": wav(255, 16_000, 16),
    "2^31 Hz": wav(1, 2**31, 16),
    "1 Hz": wav(1, 1, 16),
    "0 Hz": wav(1, 0, 16),
}


def python(code: str, *args: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})


def children(pid: int) -> list[int]:
    lists = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in lists for child in text.split()]


def decoders() -> list[int]:
    """Processes that decode for this one now."""
    return [child for one in children(os.getpid()) if _is_zygote(one) for child in children(one)]


def _is_zygote(pid: int) -> bool:
    return b"serving.media.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()


def soon(what: Any) -> bool:
    until = time.monotonic() + 10
    while not (found := what()) and time.monotonic() < until:
        time.sleep(0.01)
    return bool(found)


@pytest.mark.parametrize("make", ["huge_index(60_000_000)", "huge_index(3_000_000)", "pictures()"])
def test_a_small_file_takes_little_memory(make: str) -> None:
    code = f"""
import resource, sys
sys.path.insert(0, sys.argv[1])
from hostile import huge_index, pictures
from serving.media import blocks, probe, sandbox
from serving.contract.errors import SluiceError
data = {make}
for read in (probe, lambda data: list(blocks(data))):
    try:
        print(read(data) and "read")
    except SluiceError as error:
        print(error)
sandbox._ZYGOTE.stop()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
    said = python(code, str(Path(__file__).parent)).communicate(timeout=60)[0].splitlines()
    assert len(said) == 3
    assert int(said[-1]) < 250
    assert said[1] == "read" or "empty or broken" in said[1] or "MB" in said[1]


@pytest.mark.parametrize("what", WRONG)
def test_a_senseless_header_is_no_media(what: str) -> None:
    for read in (probe, lambda data: list(blocks(data))):
        with pytest.raises(NoMedia):
            read(WRONG[what])


def test_a_decoder_can_open_nothing_and_take_no_more_than_its_memory() -> None:
    code = """
import socket
from serving.media.zygote import _limit
_limit(100)
for harm in (lambda: open("/etc/hostname"), socket.socket, lambda: bytearray(200 << 20)):
    try:
        harm()
        print("done")
    except Exception as error:
        print(type(error).__name__, getattr(error, "errno", ""))
"""
    assert python(code).communicate(timeout=60)[0].split("\n")[:3] == ["OSError 24", "OSError 24", "MemoryError "]


def test_decoders_see_no_secret_and_die_with_their_server(tmp_path: Path) -> None:
    record(tmp_path / "long.wav", sound((120, 0.4)))
    code = """
import sys
from serving.media import Recording
recording = Recording(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""
    server = python(code, str(tmp_path / "long.wav"), HF_TOKEN="secret-7")
    assert server.stdout and server.stdout.readline() == "open\n"
    zygote = children(server.pid)[0]
    decoder = children(zygote)[0]
    assert b"secret-7" not in Path(f"/proc/{zygote}/environ").read_bytes()
    server.kill()
    server.communicate()
    assert soon(lambda: not any(_alive(pid) for pid in (zygote, decoder)))


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_a_decoder_that_is_killed_takes_nothing_along_and_closing_ends_one(tmp_path: Path) -> None:
    path = record(tmp_path / "long.wav", sound((120, 0.4)))
    with Recording(path) as recording:
        assert soon(decoders)
        os.kill(decoders()[0], signal.SIGKILL)
        with pytest.raises((NoMedia, Stopped), match="long.wav: its decoder"):
            list(recording.blocks())
    with Recording(path):
        assert soon(decoders)
    assert soon(lambda: not decoders())
    assert sum(map(len, blocks(path))) == 120 * RATE
    zygote = next(filter(_is_zygote, children(os.getpid())))
    os.kill(zygote, signal.SIGKILL)
    assert soon(lambda: not _alive(zygote))
    assert sum(map(len, blocks(path))) == 120 * RATE


def test_a_leash_ends_a_decoder_that_brings_nothing(tmp_path: Path) -> None:
    path = record(tmp_path / "talk.mp3", sound((3, 0.4)))
    os.truncate(path, 40 << 30)  # nothing but zeros, and no room taken
    leash = Leash(1e9)
    timer = threading.Timer(0.5, leash.cut)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        leash.run(lambda: list(blocks(path)))
    timer.join()
    assert time.monotonic() - started < 10
    assert soon(lambda: not decoders())


def test_a_system_that_cannot_fork_reads_the_same_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from serving.media import sandbox

    path = record(tmp_path / "talk.ogg", sound((3, 0.4)), layout="stereo")
    apart = np.concatenate(list(blocks(path)))
    monkeypatch.setattr(sandbox, "_FORKS", False)
    assert np.array_equal(np.concatenate(list(blocks(path))), apart)
    assert not decoders()
    with pytest.raises(NoMedia, match="255 channels"):
        probe(WRONG["255 channels"])
    assert [line for line in caplog.messages if "without limits" in line] == caplog.messages


@pytest.mark.e2e
def test_a_decoder_that_only_computes_is_ended(tmp_path: Path) -> None:
    path = record(tmp_path / "talk.mp3", sound((3, 0.4)))
    os.truncate(path, 80 << 30)
    with pytest.raises(NoMedia, match="20 s of computing"):
        list(blocks(path))


class Ears(ToyListener):
    """Hears what any container holds, second by second."""

    def windows(self, instance: dict[str, Any]) -> Iterator[Second]:
        with Recording(instance["audio"]) as recording:
            for at, block in enumerate(recording.blocks(1.0)):
                yield Second(float(at), at + len(block) / RATE, block * 32767)


@pytest.fixture(scope="module")
def ears() -> Iterator[tuple[Ears, httpx.Client]]:
    toy = Ears()
    with serving(toy, "ears", Limits(deadline=30), own={"max_duration": 300}) as server:
        yield toy, server.client


def test_each_gets_a_status_of_its_own_and_the_server_goes_on(ears: tuple[Ears, httpx.Client]) -> None:
    client = ears[1]
    bad = list(WRONG.values()) + [huge_index(), huge_index(2_000_000)]
    codes = [client.post(OPENAI, files={"file": ("a.wav", data)}).status_code for data in bad]
    assert codes == [415] * len(WRONG) + codes[-2:]
    assert set(codes[-2:]) <= {400, 415}
    long = record(Path(os.environ["SLUICE_HOME"]) / "gap.wav", sound((301, 0.4)))
    assert client.post(OPENAI, files={"file": ("gap.wav", long.read_bytes())}).status_code == 413
    good = client.post(OPENAI, files={"file": ("a.mov", pictures(1, 2000, 2000))})
    assert good.json()["text"] == "level 2 level 2"


@pytest.mark.parametrize("door", ["form", "v1", "v2"])
def test_a_decoder_ends_when_its_client_goes(ears: tuple[Ears, httpx.Client], door: str) -> None:
    toy, client = ears
    toy.go.clear()
    coded = base64.b64encode(tone(200)).decode()
    tensor = {"name": "audio", "datatype": "BYTES", "shape": [1], "data": [coded]}
    path, body = {
        "form": (OPENAI, {"files": {"file": ("a.wav", tone(200))}}),
        "v1": ("/v1/models/ears:predict", {"json": {"instances": [{"audio": coded}]}}),
        "v2": ("/v2/models/ears/infer", {"json": {"inputs": [tensor]}}),
    }[door]
    seen: list[int] = []
    looking = threading.Thread(target=lambda: soon(lambda: seen.extend(decoders()) or seen))
    looking.start()
    try:
        with pytest.raises(httpx.ReadTimeout):
            client.post(path, timeout=2, **body)
        looking.join()
        assert seen
        assert soon(lambda: not decoders())
    finally:
        toy.go.set()


def test_more_recordings_at_once_than_may_be_open_all_get_their_turn(ears: tuple[Ears, httpx.Client]) -> None:
    many = [base64.b64encode(tone(0.5, (n % 9 + 1) / 10)).decode() for n in range(40)]
    body = json.dumps({"instances": [{"audio": audio} for audio in many]})
    answer = ears[1].post("/v1/models/ears:predict", content=body, timeout=60)
    assert [row["text"] for row in answer.json()["predictions"]] == [f"level {n % 9 + 1}" for n in range(40)]
