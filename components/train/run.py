"""A training run from files to files, in this process or in several started by torchrun."""

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from components.common.page import Page, new_figure
from components.tasks import find, task_of
from components.train.settings import Hyperparameters, TrainSettings
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, digest

RECORD = "training.json"


def train(
    corpus: Path | str,
    examples: Path | str,
    base: Path | str,
    hyperparameters: dict[str, Any],
    settings: dict[str, Any],
    adapter: Path | str,
    history: Path | str,
) -> dict[str, float]:
    """Train an adapter and write it (directory ``adapter``) with its page (``history``, HTML); returns the metrics.

    In: the two files and the model directory of any task (the directory says which), dicts for `Hyperparameters` and
    the task's settings. A killed run is resumed from its checkpoint. Metrics: the task's own on the validation rows
    (best adapter), the same with ``_base`` for the untrained model, steps, loss. Raises `SluiceError` on bad input.
    """
    Hyperparameters.model_validate(hyperparameters)
    chosen = find(task_of(base)).learning().Settings.model_validate(settings)
    files = {"corpus": corpus, "examples": examples, "base": base, "adapter": adapter}
    alone = "WORLD_SIZE" not in os.environ
    if chosen.nodes > 1 and alone:
        from components.train.trainjob import train_on_nodes

        run = run_digest(files, Hyperparameters.model_validate(hyperparameters), chosen)
        train_on_nodes(run, files, hyperparameters, settings, chosen)
    elif chosen.processes > 1 and alone:
        _torchrun(chosen.processes, files, hyperparameters, settings)
    else:
        train_here(files, hyperparameters, settings)
    record_file = Path(adapter) / RECORD
    if "WORLD_SIZE" in os.environ and os.environ.get("RANK") != "0":
        return {}
    record = json.loads(record_file.read_text())
    _write_page(record, history)
    return dict(record["metrics"])


def train_here(files: dict[str, Path | str], hyperparameters: dict[str, Any], settings: dict[str, Any]) -> None:
    """Train in this process (one rank of several under torchrun) and, on the leading rank, write the adapter."""
    import torch

    from components.common.progress import progress
    from components.train.learner import join_world
    from components.train.loop import Checkpoint, Trainer

    task = find(task_of(files["base"])).learning()
    hyper, chosen = Hyperparameters.model_validate(hyperparameters), task.Settings.model_validate(settings)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.use_deterministic_algorithms(True)
    data = task.read(files["base"], files["corpus"], files["examples"], chosen)
    with join_world() as world:
        trainer = Trainer(task.learner(files["base"], data, hyper, chosen), hyper, chosen, world)
        checkpoint = Checkpoint(run_digest(files, hyper, chosen))
        with progress("training" if world.leads else "", 10 if world.leads else 1) as tick:
            trainer.run(checkpoint, tick=tick if world.leads else None)
        if world.leads:
            write_adapter(trainer, Path(files["adapter"]))
            checkpoint.clear()


def run_digest(files: dict[str, Path | str], hyper: Hyperparameters, settings: TrainSettings) -> str:
    """Name of the run: a digest (16 hex digits) of input contents, hyperparameters and settings."""
    parts = [digest(files[name]) for name in ("corpus", "examples", "base")]
    return sha256(
        "|".join([*parts, hyper.model_dump_json(), settings.model_dump_json(exclude={"job"})]).encode()
    ).hexdigest()[:16]


def write_adapter(trainer: Any, target: Path) -> None:
    """Write the best adapter, or model, and the record of the run (figures, curves) as one directory."""
    from components.common.lora import save_adapter, towards_base
    from components.train.loop import restore

    done, learner = trainer.progress, trainer.learner
    restore(learner, towards_base(done.best, trainer.settings.interpolation) if learner.adapter else done.best)
    first = done.evaluations[0]
    trained = sum(parameter.numel() for parameter in trainer.parameters)
    metrics = learner.measure()
    metrics |= {f"{key}_base": value for key, value in first.items() if key != "step"}
    metrics |= {
        "steps": len(trainer.steps),
        "best_step": done.best_step,
        "final_loss": done.steps[-1]["loss"],
        **learner.sizes(),
        "trained_parameters": trained,
        "trained_share": trained / sum(parameter.numel() for parameter in learner.model.parameters()),
        "bf16": float(learner.autocast),
    }
    record = {
        "about": learner.about,
        "metric": learner.metric,
        "metrics": metrics,
        "hyperparameters": trainer.hyper.model_dump(),
        "settings": trainer.settings.model_dump(),
        "steps": done.steps,
        "evaluations": done.evaluations,
    }
    with atomic_dir(target) as scratch:
        if learner.adapter:
            save_adapter(learner, learner.spec.base_model, scratch)
        learner.save(scratch)
        (scratch / RECORD).write_text(json.dumps(record, indent=1))


def _torchrun(processes: int, files: dict[str, Path | str], hyper: dict[str, Any], settings: dict[str, Any]) -> None:
    """Start `components.train` under torchrun on this machine and wait for it; stops its ranks if interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {"hyperparameters": Path(folder, "hyper.json"), "settings": Path(folder, "settings.json")}
        paths["hyperparameters"].write_text(json.dumps(hyper))
        paths["settings"].write_text(json.dumps(settings))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command += ["-m", "components.train", "--history", str(Path(folder, "history.html"))]
        for name, path in {**files, **paths}.items():
            command += [f"--{name}", str(path)]
        environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)), **os.environ}
        done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        raise SluiceError(
            f"training on {processes} processes stopped with exit code {done.returncode}; see its log above"
        )


def _write_page(record: dict[str, Any], path: Path | str) -> None:
    """Write loss and validation curves, hyperparameters and figures of a training record as one HTML file."""
    page = Page("Training", record["about"])
    metrics, name = record["metrics"], record["metric"]
    page.tiles(
        [
            ("Best", metrics[name], name),
            ("Base", metrics[f"{name}_base"], "before training"),
            ("Steps", metrics["steps"], f"best at {metrics['best_step']:.0f}"),
            ("Trained weights", metrics["trained_parameters"], f"{metrics['trained_share']:.1%} of the model"),
        ]
    )
    steps, evaluations = record["steps"], record["evaluations"]
    figure = new_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    left.plot([row["step"] for row in steps], [row["loss"] for row in steps])
    left.set(title="Training loss", xlabel="optimizer step", ylabel="loss")
    for key in (k for k in evaluations[0] if k != "step"):
        right.plot([row["step"] for row in evaluations], [row[key] for row in evaluations], marker="o", label=key)
    right.set(title="Validation", xlabel="optimizer step")
    right.legend()
    page.figure(figure, "Loss of every step, and figures on the validation split; step 0 is the base model.")
    page.heading("Hyperparameters").table([{"name": k, "value": v} for k, v in record["hyperparameters"].items()])
    page.heading("Settings").table([{"name": k, "value": v} for k, v in record["settings"].items()])
    page.write(path)
