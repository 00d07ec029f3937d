"""The shared block of every system: from checked rows to a model behind the endpoint, every gate on the way."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from components.base.component import base
from components.champion.component import champion
from components.evaluate.component import evaluate
from components.gate.component import gate
from components.merge.component import merge
from components.pack.component import pack
from components.quantize.component import quantize
from components.register.component import register
from components.report.component import report
from components.rollout.component import rollout
from components.train.component import train
from components.tune.component import best_trial, create_study, search
from pipelines.tasks import named, study_workers

Section = Mapping[str, Any]


def release(
    system: str, base_model: str, data: PipelineTask, features: PipelineTask, settings: Mapping[str, Section]
) -> None:
    """Add the tasks tune -> train -> merge -> quantize -> evaluate -> gate -> register -> roll out -> report.

    Args:
        system: name of the system, and of its InferenceService.
        base_model: Hugging Face id or directory, or a name that `components.base` knows.
        data: the task "Validate"; gives clean_passages, clean_questions, verdict and report.
        features: the task "Featurize"; gives frame and snapshot.
        settings: one section a step, from the system's YAML.
    """
    rows = {"passages": data.outputs["clean_passages"], "questions": data.outputs["clean_questions"]}
    encoder = named(base(base_model=base_model), "Fetch base model", "base").outputs["model"]
    best, trained, merged = _learn(encoder, rows, settings)
    tuned = _candidate(merged.outputs["merged"], rows, features, settings, "")
    # Like with like: the yardstick is served as INT8 too, as far as that keeps 95 % of its recall.
    yardstick = {**settings, "quantize": {**settings["quantize"], "min_retained": 0.95}}
    plain = _candidate(encoder, rows, features, yardstick, " (base)")
    standing = named(
        champion(system=system, challenger=tuned["bundle"], fallback=plain["bundle"]),
        "Find champion",
        "champion",
        cached=False,
    )
    judged = {
        role: named(evaluate(bundle=bundle, settings=settings["evaluate"], **rows), f"Evaluate {role}", "evaluate")
        for role, bundle in (
            ("challenger", tuned["bundle"]),
            ("base", plain["bundle"]),
            ("champion", standing.outputs["champion"]),
        )
    }
    verdict = named(
        gate(
            data=data.outputs["verdict"],
            quantisation=tuned["verdict"],
            settings=settings["gate"],
            **{role: task.outputs["predictions"] for role, task in judged.items()},
        ),
        "Compare with champion",
        "gate",
    )
    pages = {
        "data": data.outputs["report"],
        "study": best.outputs["history"],
        "training": trained.outputs["history"],
        "quantisation": tuned["report"],
        "evaluation": judged["challenger"].outputs["report"],
        "gate": verdict.outputs["report"],
    }
    _deliver(system, tuned["bundle"], standing, verdict, rows["questions"], pages, settings)


def _learn(
    encoder: Any, rows: dict[str, Any], settings: Mapping[str, Section]
) -> tuple[PipelineTask, PipelineTask, PipelineTask]:
    """The tasks "Best trial", "Train adapter" and "Merge adapter"."""
    study = named(create_study(base=encoder, settings=settings["tune"], **rows), "Create study", "tune")
    with dsl.ParallelFor(study_workers(), name="tune") as worker:
        trials = named(
            search(study=study.outputs["study"], worker=worker, base=encoder, settings=settings["tune"], **rows),
            "Search hyperparameters",
            "tune",
            threads=1,
        )
    best = named(
        best_trial(study=study.outputs["study"], done=dsl.Collected(trials.output), settings=settings["tune"]),
        "Best trial",
        "tune",
    )
    trained = named(
        train(base=encoder, hyperparameters=best.outputs["Output"], settings=settings["train"], **rows),
        "Train adapter",
        "train",
    )
    merged = named(merge(base=encoder, adapter=trained.outputs["adapter"]), "Merge adapter", "merge")
    return best, trained, merged


def _candidate(
    model: Any, rows: dict[str, Any], features: PipelineTask, settings: Mapping[str, Section], suffix: str
) -> dict[str, Any]:
    quantized = named(quantize(model=model, settings=settings["quantize"], **rows), f"Quantize{suffix}", "quantize")
    packed = named(
        pack(
            variants=quantized.outputs["variants"],
            frame=features.outputs["frame"],
            snapshot=features.outputs["snapshot"],
            settings=settings["pack"],
            **rows,
        ),
        f"Pack bundle{suffix}",
        "pack",
    )
    return {
        "bundle": packed.outputs["bundle"],
        "verdict": quantized.outputs["verdict"],
        "report": quantized.outputs["report"],
    }


def _deliver(
    system: str,
    bundle: Any,
    standing: PipelineTask,
    verdict: PipelineTask,
    questions: Any,
    pages: dict[str, Any],
    settings: Mapping[str, Section],
) -> None:
    """Register and roll out what the gate let pass; report either way."""
    with dsl.If(verdict.outputs["passed"] == True, name="passed"):  # noqa: E712 - KFP builds the condition from this operator
        version = named(
            register(system=system, bundle=bundle, verdict=verdict.outputs["verdict"], settings=settings["register"]),
            "Register challenger",
            "register",
        )
        rolled = named(
            rollout(
                system=system,
                bundle=version.outputs["stored"],
                version=version.outputs["Output"],
                champion=standing.outputs["champion"],
                questions=questions,
                settings=settings["rollout"],
            ),
            "Roll out",
            "rollout",
            cached=False,
        )
        named(report(rollout=rolled.outputs["report"], **pages), "Report", "report", cached=False)
    with dsl.Else(name="refused"):
        named(report(**pages), "Report", "report", cached=False)
