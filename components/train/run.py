"""A training run from files to files, in this process or in several started by torchrun."""

import json
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from components.train.settings import Hyperparameters, TrainSettings
from serving.errors import SluiceError
from serving.files import atomic_dir, digest

RECORD = "training.json"


def train(
    passages: Path | str,
    questions: Path | str,
    base: Path | str,
    hyperparameters: dict[str, Any],
    settings: dict[str, Any],
    adapter: Path | str,
    history: Path | str,
) -> dict[str, float]:
    """Train an adapter and write it (directory ``adapter``) with its page (``history``, HTML); returns the metrics.

    In: passages and questions as parquet, a model directory, dicts for `Hyperparameters` and `TrainSettings`. A killed
    run is resumed from its checkpoint. Metrics: ``mrr_<protocol>``, ``recall@1_<protocol>`` (0..1, best
    adapter), the same with ``_base`` for the untrained encoder, steps, loss. Raises `SluiceError` on bad input.
    """
    Hyperparameters.model_validate(hyperparameters)
    chosen = TrainSettings.model_validate(settings)
    files = {"passages": passages, "questions": questions, "base": base, "adapter": adapter}
    if chosen.processes > 1 and "WORLD_SIZE" not in os.environ:
        _torchrun(chosen.processes, files, hyperparameters, settings)
    else:
        train_here(files, hyperparameters, settings)
    record_file = Path(adapter) / RECORD
    if "WORLD_SIZE" in os.environ and os.environ.get("RANK") != "0":
        return {}
    from components.train.history import write_page

    record = json.loads(record_file.read_text())
    write_page(record, history)
    return dict(record["metrics"])


def train_here(files: dict[str, Path | str], hyperparameters: dict[str, Any], settings: dict[str, Any]) -> None:
    """Train in this process (one rank of several under torchrun) and, on the leading rank, write the adapter."""
    import torch

    from components.base.encoder import TorchEncoder
    from components.train.checkpoint import Checkpoint
    from components.train.data import corpus, read_tables
    from components.train.loop import Trainer
    from components.train.progress import progress
    from components.train.validation import validation
    from components.train.world import join_world

    hyper, chosen = Hyperparameters.model_validate(hyperparameters), TrainSettings.model_validate(settings)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.use_deterministic_algorithms(True)
    tables = read_tables(files["passages"], files["questions"])
    encoder = TorchEncoder(files["base"], chosen.max_tokens)
    held = validation(corpus(*tables, "val", encoder), chosen.eval_questions, chosen.eval_passages, chosen.seed)
    with join_world() as world:
        trainer = Trainer(encoder, corpus(*tables, "train", encoder), held, hyper, chosen, world)
        checkpoint = Checkpoint(run_digest(files, hyper, chosen))
        with progress("training" if world.leads else "", 10 if world.leads else 1) as tick:
            trainer.run(checkpoint, tick=tick if world.leads else None)
        if world.leads:
            write_adapter(trainer, Path(files["adapter"]))
            checkpoint.clear()


def run_digest(files: dict[str, Path | str], hyper: Hyperparameters, settings: TrainSettings) -> str:
    """Name of the run: a digest (16 hex digits) of input contents, hyperparameters and settings."""
    parts = [digest(files[name]) for name in ("passages", "questions", "base")]
    return sha256("|".join([*parts, hyper.model_dump_json(), settings.model_dump_json()]).encode()).hexdigest()[:16]


def write_adapter(trainer: Any, target: Path) -> None:
    """Write the best adapter and the record of the run (figures, curves) as one directory."""
    from components.train.lora import restore_adapter, save_adapter, towards_base

    done = trainer.progress
    kept = towards_base(done.best, trainer.settings.interpolation)
    restore_adapter(trainer.encoder.model, kept)
    first = done.evaluations[0]
    trained = sum(parameter.numel() for parameter in trainer.parameters)
    metrics = trainer.val.measure(trainer.encoder)
    metrics |= {f"{key}_base": value for key, value in first.items() if key != "step"}
    metrics |= {
        "steps": len(trainer.steps),
        "best_step": done.best_step,
        "final_loss": done.steps[-1]["loss"],
        "training_questions": len(trainer.data.questions),
        "trained_parameters": trained,
        "trained_share": trained / sum(parameter.numel() for parameter in trainer.encoder.model.parameters()),
        "bf16": float(trainer.encoder.autocast),
    }
    record = {
        "metrics": metrics,
        "hyperparameters": trainer.hyper.model_dump(),
        "settings": trainer.settings.model_dump(),
        "steps": done.steps,
        "evaluations": done.evaluations,
    }
    with atomic_dir(target) as scratch:
        save_adapter(trainer.encoder, kept, scratch)
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
