"""From the speech bench's figures to its promises. Pure functions."""

from collections.abc import Sequence

from load_tests.bench.judge import BenchTarget
from load_tests.bench.speech.engines import FASTER, OPENAI, OURS8, OURS32, TRANSFORMERS
from load_tests.bench.speech.measure import Hour, Row


def judge(rows: Sequence[Row], hour: Hour | None) -> list[BenchTarget]:
    """Ours ahead of openai-whisper and transformers everywhere, and at least 1 / 1.2 of faster-whisper's speed."""
    found = []
    for shape, windows in dict.fromkeys((row.shape, row.windows) for row in rows):
        here = {row.engine: row.seconds for row in rows if (row.shape, row.windows) == (shape, windows)}
        for peer, least in ((OPENAI, 1.0), (TRANSFORMERS, 1.0), (FASTER, round(1 / 1.2, 3))):
            if peer in here:
                place = f"{shape}, {windows} at once: speed against {peer}"
                found.append(BenchTarget(place, here[peer] / here[OURS8], "x", least))
        found.append(BenchTarget(f"{shape}, {windows} at once: INT8 against fp32", here[OURS32] / here[OURS8], "x"))
    if hour is not None:
        minutes = hour.cpu_s / hour.audio_s * 60
        found.append(
            BenchTarget("an hour of sound, tiny, file to transcript, CPU time", minutes, "min", 5, at_most=True)
        )
        found.append(BenchTarget("its peak memory", hour.memory_mb, "MB"))
    return found
