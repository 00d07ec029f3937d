"""``sluice pretrain whisper-nano``: the whole recipe, from texts to a model directory with its card."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.contract.files import home

MINUTES = 65.0
"""What the full plan takes on one core of a 2020s server; another figure scales the number of steps."""
DIGIT_STRINGS = 3000
MEASURED = 300


def pretrain(
    target: Path,
    digits: Path | None = None,
    minutes: float = MINUTES,
    work: Path | None = None,
    log: Path | None = None,
) -> None:
    """Train whisper-nano from nothing and write it to ``target`` as a Hugging Face directory with its card.

    ``digits``: folder with FSDD's recordings, mixed in when given (without it digits come from espeak-ng alone and the
    card says so). ``minutes`` scales the steps of `plan.py`. ``work`` (default: below ``$SLUICE_HOME``) keeps the
    pool of clips (2 GB) and the checkpoint, so that a stopped run goes on where it was; ``log`` gets a line of
    figures every few minutes. Raises `SluiceError` when espeak-ng is missing or ``digits`` holds no FSDD recordings.
    """
    import torch

    from components.pretrain import measure, voices
    from components.pretrain.clips import Clip
    from components.pretrain.digits import SPEAKERS, TRAIN_NUMBERS, digit_strings
    from components.pretrain.train import Trainer, pool_texts

    voices.espeak()
    torch.set_num_threads(1)  # a model this small is no faster with more
    work = work or home() / "pretrain" / "whisper-nano"
    work.mkdir(parents=True, exist_ok=True)
    strings = digit_strings(digits, SPEAKERS, TRAIN_NUMBERS, DIGIT_STRINGS, 5) if digits else []
    taken = pool_texts()
    say = _teller(log)
    with _pool(work):
        quick = measure.test_sets(digits, 80, taken)
        clips = [Clip(samples, text) for samples, text, _ in strings]
        trainer = Trainer(work, clips, quick, minutes / MINUTES, say)
        with _progress() as moved:
            trainer.run(moved)
    finish(trainer.learner, target, digits, taken, say)


def finish(
    learner: object, target: Path, digits: Path | None, taken: frozenset[str], say: Callable[[str], None]
) -> None:
    """Measure ``learner`` (a `Learner`) on the full test sets, find its alignment heads, and write ``target``."""
    from components.pretrain import measure
    from components.pretrain.card import card
    from components.pretrain.heads import alignment_heads
    from components.pretrain.model import Learner, save

    assert isinstance(learner, Learner)
    errors = {
        name: measure.word_errors(learner, clips) for name, clips in measure.test_sets(digits, MEASURED, taken).items()
    }
    errors |= measure.sample_errors(learner, measure.SAMPLES)
    heads = alignment_heads(learner)
    for name, figure in errors.items():
        say(f"{name}: WER {figure.wer:.1%}, {figure.utterances} utterances, {figure.words} words")
    save(learner, target, heads, card(errors, digits is not None, heads))
    say(f"{target}: written, alignment heads {heads}")


@contextmanager
def _pool(work: Path) -> Iterator[None]:
    """A process beside training that reads the lines, shard by shard; it ends with the run."""
    from components.pretrain.clips import make_shard, make_shards
    from components.pretrain.plan import SHARDS

    make_shard(SHARDS[0], work / "pool")  # here, so that a broken espeak-ng is an error and not an endless wait
    reader = multiprocessing.get_context("spawn").Process(target=make_shards, args=(SHARDS, work / "pool"), daemon=True)
    reader.start()
    try:
        yield
    finally:
        reader.terminate()
        reader.join()


def _teller(log: Path | None) -> Callable[[str], None]:
    """Prints lines for people, with the time, and appends them to ``log``."""
    from rich import print as show

    def say(line: str) -> None:
        timed = f"{time.strftime('%H:%M:%S')} {line}"
        show(timed)
        if log:
            with log.open("a") as stream:
                stream.write(timed + "\n")

    return say


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A progress bar over steps."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("Training", total=None)
        yield lambda step, total: bar.update(task, completed=step, total=total)
