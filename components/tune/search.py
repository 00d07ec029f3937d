"""A worker: takes trials from the shared study until enough are finished."""

import sys
import time
from pathlib import Path
from typing import Any

from components.tasks import find, task_of
from components.train.settings import Hyperparameters
from components.tune.settings import TuneSettings, hyperparameters_of, suggest, trial_settings, tune_settings
from components.tune.study import OWNER, Surplus, counts, heartbeat_s, join, owner, refuse_surplus, release_dead
from serving.contract.errors import SluiceError

MAX_FAILURES = 6
"""Failed trials of one study, of all workers together, that are still thought to be chance."""


class Bench:
    """Data of all trials of one worker, read once; a trial loads a fresh base model."""

    def __init__(self, corpus: Path | str, examples: Path | str, base: Path | str, settings: TuneSettings) -> None:
        """Read and prepare; `SluiceError` on bad input."""
        import torch

        torch.set_num_threads(settings.threads)
        self.base, self.settings, self.task = base, settings, find(task_of(base)).learning()
        self.taken_over = False
        self.data = self.task.read(base, corpus, examples, trial_settings(settings, Hyperparameters(), self.task))

    def objective(self, trial: Any) -> float:
        """Best validation figure of a short training run; stops early where the pruner says so.

        It also stops where another worker has taken the trial over, and says so in ``taken_over``.
        """
        import optuna

        try:
            trial.set_user_attr(OWNER, owner())
            refuse_surplus(trial.study, trial, self.settings.n_trials)
            return self._train(trial)
        except optuna.exceptions.UpdateFinishedTrialError:
            self.taken_over = True
            raise

    def _train(self, trial: Any) -> float:
        import optuna

        from components.train.loop import Trainer

        hyper = hyperparameters_of(suggest(trial, self.settings.space))
        chosen = trial_settings(self.settings, hyper, self.task)
        trainer = Trainer(self.task.learner(self.base, self.data, hyper, chosen), hyper, chosen)
        metric = trainer.learner.metric

        def report(rung: int, scores: dict[str, float]) -> None:
            trial.report(scores[metric], rung)
            print(f"trial {trial.number}, rung {rung}: {metric} {scores[metric]:.4f}", file=sys.stderr, flush=True)
            if trial.should_prune() and rung < self.settings.rungs:
                raise optuna.TrialPruned

        trial.set_user_attr("metric", metric)
        done = trainer.run(on_eval=report, baseline=False)
        return max(row[metric] for row in done.evaluations)


def search(
    study: str, worker: int, corpus: Path | str, examples: Path | str, base: Path | str, settings: dict[str, Any]
) -> int:
    """Run trials until the study has ``n_trials`` finished ones; returns the number finished by all workers so far.

    A worker that was killed leaves nothing that blocks: its trial is failed and queued again by whoever comes next.
    Over a database a worker stays until the others' last trials are finished, and takes over those that die.
    Raises `SluiceError` when more than `MAX_FAILURES` trials failed.
    """
    chosen = tune_settings(find(task_of(base)).learning(), settings)
    shared = join(study, chosen, worker)
    bench: Bench | None = None
    while True:
        release_dead(shared)
        now = counts(shared)
        if now["failed"] > MAX_FAILURES:
            raise SluiceError(f"study {study}: {now['failed']} trials failed; the log of a worker says why")
        if now["finished"] + now["running"] < chosen.n_trials:
            bench = bench or Bench(corpus, examples, base, chosen)
            run_one(shared, bench)
        elif now["running"] and now["finished"] < chosen.n_trials and heartbeat_s(shared):
            time.sleep(1)
        else:
            return now["finished"]


def run_one(study: Any, bench: Bench) -> None:
    """One trial. A trial that was taken from this worker while it was silent (suspended, cut off) is left alone."""
    import optuna

    try:
        study.optimize(bench.objective, n_trials=1, catch=(Surplus,))
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        if not bench.taken_over:
            raise
        bench.taken_over = False
        print("another worker has taken this trial over: it ends here", file=sys.stderr, flush=True)
