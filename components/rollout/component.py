"""The step that brings a bundle to users."""

from typing import NamedTuple

from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from components.common.step import step


@step
def rollout(
    system: str,
    bundle: Input[Model],
    version: str,
    champion: Input[Model],
    asked: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    verdicts: Output[Artifact],
    report: Output[HTML],
) -> NamedTuple("Outcome", [("promoted", bool), ("reason", str)]):  # type: ignore[valid-type]
    """Roll out: canary beside stable, load test and analysis at each step, then promote or roll back.

    Args:
        system: name of the InferenceService, and of the model in its routes.
        bundle: the bundle directory to serve.
        version: its version in the registry; the alias champion moves to it at 100 %.
        champion: the bundle it was compared with; it goes first where nothing is served yet.
        asked: request rows (JSON lines, load_tests/asked.py) as the step evaluate wrote them: the load and the labels.
        settings: section ``rollout`` of the system's YAML (components/rollout/settings.py).
        verdicts: JSON list of every verdict: load and canary at each step.
        report: page with verdicts, latency of stable and canary, and the timeline.
    """
    from pathlib import Path

    from components.rollout.release import Standing, address, release
    from components.rollout.settings import RolloutSettings

    chosen = RolloutSettings.model_validate(settings)
    return release(
        system,
        Path(bundle.path),
        address(bundle.uri, bundle.metadata),
        version,
        Path(asked.path),
        chosen,
        Path(verdicts.path),
        Path(report.path),
        champion=Standing(
            Path(champion.path), address(champion.uri, champion.metadata), str(champion.metadata.get("version", "base"))
        ),
    )
