"""A worker: takes trials from the shared study until enough are finished."""

import sys
from pathlib import Path
from typing import Any

from components.tune.settings import TuneSettings, hyperparameters_of, suggest, trial_settings
from components.tune.study import OWNER, counts, join, owner, release_dead
from serving.errors import SluiceError


class Bench:
    """Data of all trials of one worker, tokenised once; a trial loads a fresh base model."""

    def __init__(self, passages: Path | str, questions: Path | str, base: Path | str, settings: TuneSettings) -> None:
        """Read and tokenise; `SluiceError` on bad input."""
        import torch

        from components.base.encoder import TorchEncoder
        from components.train.data import corpus, read_tables
        from components.train.validation import validation

        torch.set_num_threads(settings.threads)
        self.base, self.settings = base, settings
        tables = read_tables(passages, questions)
        encoder = TorchEncoder(base, settings.max_tokens)
        self.data = corpus(*tables, "train", encoder)
        held = corpus(*tables, "val", encoder)
        self.val = validation(held, settings.eval_questions, settings.eval_passages, settings.seed)

    def objective(self, trial: Any) -> float:
        """Best validation MRR (0..1) of a short training run; stops early where the pruner says so."""
        import optuna

        from components.base.encoder import TorchEncoder
        from components.train.loop import Trainer

        trial.set_user_attr(OWNER, owner())
        hyper = hyperparameters_of(suggest(trial, self.settings.space))
        encoder = TorchEncoder(self.base, self.settings.max_tokens)
        trainer = Trainer(encoder, self.data, self.val, hyper, trial_settings(self.settings, hyper))
        metric = f"mrr_{self.val.protocol}"

        def report(rung: int, scores: dict[str, float]) -> None:
            trial.report(scores[metric], rung)
            print(f"trial {trial.number}, rung {rung}: {metric} {scores[metric]:.4f}", file=sys.stderr, flush=True)
            if trial.should_prune() and rung < self.settings.rungs:
                raise optuna.TrialPruned

        trial.set_user_attr("metric", metric)
        done = trainer.run(on_eval=report, baseline=False)
        return max(row[metric] for row in done.evaluations)


def search(
    study: str, worker: int, passages: Path | str, questions: Path | str, base: Path | str, settings: dict[str, Any]
) -> int:
    """Run trials until the study has ``n_trials`` finished ones; returns the number finished by all workers so far.

    A worker that was killed leaves nothing that blocks: its trial is failed and queued again by whoever comes next.
    Raises `SluiceError` when more than ``max_failures`` trials failed.
    """
    chosen = TuneSettings.model_validate(settings)
    shared = join(study, chosen, worker)
    bench: Bench | None = None
    while True:
        release_dead(shared)
        now = counts(shared)
        if now["failed"] > chosen.max_failures:
            raise SluiceError(f"study {study}: {now['failed']} trials failed; the log of a worker says why")
        if now["finished"] + now["running"] >= chosen.n_trials:
            return now["finished"]
        bench = bench or Bench(passages, questions, base, chosen)
        shared.optimize(bench.objective, n_trials=1)
