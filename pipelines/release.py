"""The shared block of every system: from checked rows to a model behind the endpoint, every gate on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from components.base.component import base
from components.champion.component import champion
from components.evaluate.component import evaluate
from components.featurize.component import featurize
from components.gate.component import gate
from components.merge.component import merge
from components.pack.component import pack
from components.quantize.component import quantize
from components.register.component import register
from components.report.component import report
from components.rollout.component import rollout
from components.tasks import find
from components.train.component import train
from components.tune.component import best_trial, create_study, search
from components.validate.component import validate
from pipelines.tasks import named, study_workers

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Release:
    """One model on its way to users.

    system: name of the system, and of its InferenceService. task: what the model does (retrieval, transcription, …).
    data: the task "Validate data" (clean_corpus, clean_examples, verdict, report). settings: one section a step.
    features: artifacts of the feature store that the bundle needs (frame, snapshot). title: prefix of the steps' names,
    where a system has several models.
    """

    system: str
    task: str
    data: PipelineTask
    settings: Mapping[str, Section]
    features: Mapping[str, Any]
    title: str = ""

    @property
    def rows(self) -> dict[str, Any]:
        """The checked tables that every step reads."""
        return {"corpus": self.data.outputs["clean_corpus"], "examples": self.data.outputs["clean_examples"]}

    def step(self, task: PipelineTask, title: str, room: str, **options: Any) -> PipelineTask:
        """A task of this release, named for people, cached by the code of its room for this kind of model."""
        return named(task, f"{self.title}{title}", room, kind=self.task, **options)


@dataclass(frozen=True)
class Judged:
    """What the gates decided on: the challenger's and the champion's bundle, and the verdicts of all gates."""

    challenger: Any
    champion: Any
    verdict: Any


def validated(task: str, corpus: Any, examples: Any, settings: Mapping[str, Section], title: str = "") -> PipelineTask:
    """The task "Validate data" of a model's two tables, by the suites of its kind; arguments as `release`."""
    told = {"task": task, **settings["validate"]}
    checked = validate(corpus=corpus, examples=examples, settings=told)
    return named(checked, f"{title}validate data" if title else "Validate data", "validate", kind=task)


def featurized(task: str, data: PipelineTask, settings: Mapping[str, Section], title: str = "") -> dict[str, Any]:
    """The task "Featurize" of a model's checked rows: the features that its bundle needs; arguments as `release`."""
    told = {"task": task, **settings["featurize"]}
    made = featurize(corpus=data.outputs["clean_corpus"], examples=data.outputs["clean_examples"], settings=told)
    named(made, f"{title}featurize" if title else "Featurize", "featurize", kind=task)
    return {name: made.outputs[name] for name in ("frame", "snapshot")}


def release(
    system: str,
    task: str,
    base_model: str,
    data: PipelineTask,
    settings: Mapping[str, Section],
    features: Mapping[str, Any] | None = None,
    title: str = "",
    study: bool = True,
) -> Judged:
    """Add the tasks tune -> train -> merge -> quantize -> evaluate -> gate -> register -> roll out -> report.

    A task without an adapter (`components.tasks.Task.merging`) has none to merge: what training writes is the model. It
    may learn from nothing, where its base model is an untrained one.

    Args:
        system: name of the system, and of its InferenceService.
        task: what the model does; every step finds its own part for it.
        base_model: Hugging Face id or directory, or a name that `components.base` knows.
        data: the task "Validate data"; gives clean_corpus, clean_examples, verdict and report.
        settings: one section a step, from the system's YAML.
        features: what the feature store adds to a bundle (frame, snapshot).
        title: prefix of the steps' display names.
        study: search the hyperparameters; else they are ``hyperparameters`` of section ``train``.
    """
    own = Release(system, task, data, settings, features or {}, title)
    model = own.step(base(base_model=base_model, task=task), "Fetch base model", "base").outputs["model"]
    learned, pages = _learn(own, model, study)
    tuned = _candidate(own, learned, "")
    # Like with like: the yardstick is served as INT8 too, as far as that keeps 95 % of its quality.
    yardstick = replace(own, settings={**settings, "quantize": {**settings["quantize"], "min_retained": 0.95}})
    plain = _candidate(yardstick, model, " (base)")
    return _decide(own, tuned, plain, pages)


def refresh(
    system: str,
    task: str,
    base_model: str,
    data: PipelineTask,
    settings: Mapping[str, Section],
    features: Mapping[str, Any] | None = None,
    title: str = "",
) -> Judged:
    """The same without learning: new data behind the base model, through the same gates; arguments as `release`."""
    own = Release(system, task, data, settings, features or {}, title)
    model = own.step(base(base_model=base_model, task=task), "Fetch base model", "base").outputs["model"]
    fresh = _candidate(own, model, "")
    return _decide(own, fresh, fresh, {})


def _learn(own: Release, model: Any, study: bool) -> tuple[Any, dict[str, Any]]:
    """The tasks from the study to the merged model; that model, and the pages on the way."""
    told = dict(own.settings["train"])
    fixed, pages = told.pop("hyperparameters", {}), {}
    if study:
        best = _study(own, model)
        fixed, pages["study"] = best.outputs["Output"], best.outputs["history"]
    adapts = find(own.task).merging() is not None
    trained = own.step(
        train(base=model, hyperparameters=fixed, settings=told, **own.rows),
        "Train adapter" if adapts else "Train",
        "train",
    )
    pages["training"] = trained.outputs["history"]
    if not adapts:
        return trained.outputs["adapter"], pages
    merged = own.step(merge(base=model, adapter=trained.outputs["adapter"]), "Merge adapter", "merge")
    return merged.outputs["merged"], pages


def _study(own: Release, model: Any) -> PipelineTask:
    """The tasks "Create study", "Search hyperparameters" and "Best trial"; the last of them."""
    rows, settings = own.rows, own.settings["tune"]
    study = own.step(create_study(base=model, settings=settings, **rows), "Create study", "tune")
    with dsl.ParallelFor(study_workers(), name=f"tune {own.task}") as worker:
        trials = own.step(
            search(study=study.outputs["study"], worker=worker, base=model, settings=settings, **rows),
            "Search hyperparameters",
            "tune",
            threads=1,
        )
    return own.step(
        best_trial(study=study.outputs["study"], done=dsl.Collected(trials.output), settings=settings),
        "Best trial",
        "tune",
    )


def _candidate(own: Release, model: Any, suffix: str) -> dict[str, Any]:
    quantized = own.step(
        quantize(model=model, settings=own.settings["quantize"], **own.rows), f"Quantize{suffix}", "quantize"
    )
    packed = own.step(
        pack(
            variants=quantized.outputs["variants"],
            settings={"system": own.system, **own.settings["pack"]},
            **own.rows,
            **own.features,
        ),
        f"Pack bundle{suffix}",
        "pack",
    )
    return {
        "bundle": packed.outputs["bundle"],
        "verdict": quantized.outputs["verdict"],
        "report": quantized.outputs["report"],
    }


def _decide(own: Release, tuned: Mapping[str, Any], plain: Mapping[str, Any], pages: dict[str, Any]) -> Judged:
    """Compare challenger, champion and base model; deliver the challenger if every gate lets it pass."""
    settings = own.settings
    standing = own.step(
        champion(system=own.system, challenger=tuned["bundle"], fallback=plain["bundle"]),
        "Find champion",
        "champion",
        cached=False,
    )
    judged = {
        role: own.step(
            evaluate(bundle=bundle, settings=settings["evaluate"], **own.rows), f"Evaluate {role}", "evaluate"
        )
        for role, bundle in (
            ("challenger", tuned["bundle"]),
            ("base", plain["bundle"]),
            ("champion", standing.outputs["champion"]),
        )
    }
    verdict = own.step(
        gate(
            data=own.data.outputs["verdict"],
            quantisation=tuned["verdict"],
            settings=settings["gate"],
            **{role: task.outputs["predictions"] for role, task in judged.items()},
        ),
        "Compare with champion",
        "gate",
    )
    pages = {
        **pages,
        "data": own.data.outputs["report"],
        "quantisation": tuned["report"],
        "evaluation": judged["challenger"].outputs["report"],
        "gate": verdict.outputs["report"],
    }
    _deliver(own, tuned["bundle"], standing, verdict, judged["challenger"].outputs["asked"], pages)
    return Judged(tuned["bundle"], standing.outputs["champion"], verdict.outputs["verdict"])


def _deliver(
    own: Release, bundle: Any, standing: PipelineTask, verdict: PipelineTask, asked: Any, pages: dict[str, Any]
) -> None:
    """Register and roll out what the gate let pass; report either way."""
    with dsl.If(verdict.outputs["passed"] == True, name=f"passed {own.task}"):  # noqa: E712 - KFP reads this operator
        version = own.step(
            register(
                system=own.system,
                bundle=bundle,
                verdict=verdict.outputs["verdict"],
                settings=own.settings["register"],
            ),
            "Register challenger",
            "register",
        )
        rolled = own.step(
            rollout(
                system=own.system,
                bundle=version.outputs["stored"],
                version=version.outputs["Output"],
                champion=standing.outputs["champion"],
                asked=asked,
                settings=own.settings["rollout"],
            ),
            "Roll out",
            "rollout",
            cached=False,
        )
        own.step(report(rollout=rolled.outputs["report"], **pages), "Report", "report", cached=False)
    with dsl.Else(name=f"refused {own.task}"):
        own.step(report(**pages), "Report", "report", cached=False)
