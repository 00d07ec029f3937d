"""What the speech bench measures: windows alone and together, and an hour of sound from file to transcript."""

import json
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from load_tests.bench.speech.engines import Engine, open_engines
from load_tests.bench.speech.shapes import REAL, make_graphs, make_model
from serving.contract.errors import SluiceError

RATE, SECONDS = 16_000, 30
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One engine on one shape with ``windows`` windows at once: the median seconds a window, over the rounds."""

    engine: str
    shape: str
    windows: int
    seconds: float

    @property
    def factor(self) -> float:
        """Real-time factor: seconds of work for each second of sound."""
        return self.seconds / SECONDS


@dataclass(frozen=True)
class Plan:
    """One run: which shapes, how many tokens a window, how many windows together, rounds and threads."""

    shapes: tuple[str, ...] = ("tiny", "base", "small")
    tokens: int = 100
    together: int = 4
    rounds: int = 3
    threads: int = 1


@dataclass(frozen=True)
class Hour:
    """A recording from file to transcript: its seconds, wall-clock and CPU seconds it took, peak memory in MB."""

    audio_s: float
    took_s: float
    cpu_s: float
    words: int
    memory_mb: float


def clock(threads: int) -> Callable[[], float]:
    """Seconds of work: with one thread CPU seconds, which other programs of the machine hardly change."""
    return time.process_time if threads == 1 else time.perf_counter


def measure(plan: Plan, say: Say) -> list[Row]:
    """Engines take turns, a round after another, after one that is thrown away. Errors: `SluiceError`."""
    rows: list[Row] = []
    for shape in plan.shapes:
        with tempfile.TemporaryDirectory() as scratch:
            say(f"{shape}: making weights and graphs")
            model = make_model(shape, Path(scratch) / "model")
            graphs = make_graphs(model, Path(scratch) / "graphs")
            engines = open_engines(model, graphs, plan.tokens, plan.threads)
            for count in dict.fromkeys((1, plan.together)):
                rows += _turns(engines, shape, count, plan, say)
    return rows


def _turns(engines: dict[str, Engine], shape: str, count: int, plan: Plan, say: Say) -> list[Row]:
    windows, now = speech(count) if shape == REAL else sounds(count), clock(plan.threads)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(-1, plan.rounds):
        for name, engine in engines.items():
            began = now()
            found = engine(windows)
            took = now() - began
            check(name, found, count, plan.tokens)
            if turn >= 0:
                times[name].append(took / count)
    rows = [Row(name, shape, count, float(np.median(values))) for name, values in times.items()]
    for row in rows:
        say(f"{shape}, {count} windows: {row.engine} {row.seconds:.3f} s a window")
    return rows


def check(name: str, found: Sequence[Sequence[int]], windows: int, tokens: int) -> None:
    """Who does less would win. Errors: `SluiceError` unless each window has its tokens, give or take one."""
    lengths = [len(row) for row in found]
    if len(lengths) != windows or min(lengths, default=0) < tokens - 1 or max(lengths) > tokens + 1:
        raise SluiceError(f"{name} wrote {lengths} tokens for {windows} windows, not {tokens} each; no fair figures")


def sounds(count: int, seed: int = 0) -> list[np.ndarray]:
    """Windows of 30 s: chords that come and go, in noise."""
    rng, t = np.random.default_rng(seed), np.arange(SECONDS * RATE) / RATE
    found = []
    for _ in range(count):
        chord = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(120, 1500, 5)) / 20
        beat = np.clip(np.sin(2 * np.pi * t / rng.uniform(2, 4)) + 0.7, 0, 1)
        found.append((chord * beat + rng.normal(0, 0.003, len(t))).astype(np.float32))
    return found


def speech(count: int) -> list[np.ndarray]:
    """Windows of 30 s out of our own sample recordings, a different one each. Errors: `SluiceError` without them."""
    from serving.media import Recording

    package = find_spec("components.recordings")
    folders = (package.submodule_search_locations if package else None) or ()
    found = [file for folder in folders for file in sorted(Path(folder, "samples").glob("*.ogg"))][:count]
    if len(found) < count:
        raise SluiceError(
            f"{count} sample recordings are wanted, {len(found)} are here (components/recordings/samples)"
        )
    windows = []
    for file in found:
        with Recording(file) as recording:
            windows.append(np.concatenate([*recording.blocks()])[: SECONDS * RATE])
    return windows


def hour(plan: Plan, seconds: int, say: Say) -> Hour:
    """A WAV file of ``seconds``, with tiny.en in INT8, through the whole transcriber in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        say(f"tiny: {seconds} s of sound, from file to transcript")
        model = make_model(REAL, Path(scratch) / "model")
        graphs = make_graphs(model, Path(scratch) / "graphs")
        path = Path(scratch) / "hour.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            for at in range(seconds // SECONDS):
                file.writeframes((sounds(1, at)[0] * 32_767).astype("<i2").tobytes())
        arguments = [str(part) for part in (model, graphs / "int8", path, plan.tokens, plan.threads)]
        module = [sys.executable, "-m", "load_tests.bench.speech.whole"]
        done = subprocess.run([*module, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SluiceError(f"the hour failed: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return Hour(**json.loads(done.stdout))
