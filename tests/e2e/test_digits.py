"""A voice that the speech model has never heard: real spoken digits (FSDD), with and without LoRA on his recordings."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.pretrain.digits import KEPT_BACK, SPEAKERS, TEST_NUMBERS, TRAIN_NUMBERS, digit_strings

pytestmark = pytest.mark.e2e
DIGITS = Path(__file__).parents[3] / "shared" / "data" / "fsdd"
# Which recordings (numbers) of whom, and how many strings of 1 to 5 digits they are joined into.
PLAN = {
    "train": [((KEPT_BACK,), range(10, 50), 150, "new"), (SPEAKERS, TRAIN_NUMBERS, 90, "known")],
    "val": [((KEPT_BACK,), range(5, 10), 60, "new")],
    "test": [((KEPT_BACK,), TEST_NUMBERS, 150, "new"), (SPEAKERS, TEST_NUMBERS, 150, "known")],
}
# Whisper's English normaliser writes "one two" as "12"; the basic one leaves words alone.
WORDS = {"language": "basic"}


def rows() -> Iterator[dict[str, object]]:
    for split, parts in PLAN.items():
        for seed, (speakers, numbers, count, condition) in enumerate(parts):
            for at, (samples, text, speaker) in enumerate(digit_strings(DIGITS, speakers, numbers, count, seed)):
                name = f"{split}-{condition}-{at}"
                silence = np.zeros(4_800, np.float32)
                sound = (np.concatenate([silence, samples, silence]) * 32767).astype("<i2")
                seconds = len(sound) / 16_000
                yield {"utterance_id": name, "recording_id": name, "start": 0.0, "end": seconds, "seconds": seconds,
                       "samples": sound.tobytes(), "text": text, "speaker": speaker, "condition": condition,
                       "split": split}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if not DIGITS.is_dir():
        pytest.skip("the Free Spoken Digit Dataset is not here")
    folder = tmp_path_factory.mktemp("digits")
    table = pd.DataFrame(rows()).astype({"seconds": "float32"})
    table = table[table["seconds"] < 6]
    paths = folder / "audio.parquet", folder / "utterances.parquet"
    table[["utterance_id", "recording_id", "start", "end", "samples"]].to_parquet(paths[0], index=False)
    columns = ["utterance_id", "recording_id", "text", "speaker", "condition", "split", "seconds"]
    table[columns].to_parquet(paths[1], index=False)
    return paths


def served(model: Path, tables: tuple[Path, Path], folder: Path) -> dict[str, float]:
    """Figures of a model directory as it would be served, INT8 if that keeps quality; writes predictions."""
    from components.evaluate.evaluate import evaluate_files
    from components.pack.run import pack
    from components.quantize.run import quantize

    folder.mkdir()
    quantize(model, *tables, WORDS, folder / "variants", folder / "verdict", folder / "q.html")
    pack(folder / "variants", *tables, {"system": "digits"}, folder / "bundle")
    out = folder / "predictions", folder / "page.html", folder / "asked"
    return evaluate_files(folder / "bundle", *tables, WORDS, *out)


def test_lora_learns_a_new_voice_and_keeps_the_old_ones(tables: tuple[Path, Path], tmp_path: Path) -> None:
    from components.gate.gate import judge_files
    from components.merge.run import merge
    from components.tasks.transcription.base import fetch
    from components.train.run import train
    from serving.contract.verdict import Verdict, read_verdicts, write_verdicts

    base, adapter, merged = tmp_path / "base", tmp_path / "adapter", tmp_path / "merged"
    fetch("whisper-nano", base)
    hyper = {"rank": 8, "alpha": 16, "learning_rate": 2e-3, "batch": 16, "target_modules": "qv"}
    chosen = {"normaliser": "basic", "max_steps": 100}
    train(*tables, base, hyper, chosen, adapter, tmp_path / "history.html")
    merge(base, adapter, merged)
    before, after = served(base, tables, tmp_path / "b"), served(merged, tables, tmp_path / "c")
    print({name: (round(before[name], 4), round(after[name], 4)) for name in before if name.startswith("wer")})
    write_verdicts([Verdict("data", True, "of the test itself", {})], tmp_path / "data")
    files = {"challenger": tmp_path / "c" / "predictions"}
    files |= dict.fromkeys(("champion", "base"), tmp_path / "b" / "predictions")
    earlier = {"data": tmp_path / "data", "quantisation": tmp_path / "c" / "verdict"}
    outcome = judge_files(files, earlier, {}, tmp_path / "verdicts", tmp_path / "gate.html")
    print(outcome.reason, read_verdicts(tmp_path / "verdicts")[-1].figures)
    assert after["wer_test_new"] < before["wer_test_new"]
    assert after["wer_test_known"] < before["wer_test_known"] + 0.03
    assert outcome.passed, outcome.reason
