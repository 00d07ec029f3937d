"""The step "Register challenger"."""

from kfp.dsl import Artifact, Input, Model, Output

from components.common.step import step


@step
def register(
    system: str,
    bundle: Input[Model],
    verdict: Input[Artifact],
    settings: dict,  # type: ignore[type-arg]
    stored: Output[Model],
) -> str:
    """Store the bundle for good and give it a version in MLflow, with lineage, figures and every verdict.

    Args:
        system: Name of the system; the registered model is "sluice-<system>".
        bundle: Directory of the bundle.
        verdict: Verdicts of the gates so far (JSON list).
        settings: Section "register" (see RegisterSettings).
        stored: The stored bundle, which outlives this run: its own directory, or a copy of the bundle here and the
            URL in the object store as metadata ``stored``: what a rollout serves.
    """
    from pathlib import Path

    from components.common.storage import copy_to, is_url
    from components.register.run import RegisterSettings
    from components.register.run import register as run
    from serving.contract.verdict import read_verdicts

    chosen = RegisterSettings(**settings)
    entry = run(system, Path(bundle.path), read_verdicts(verdict.path), chosen.experiment)
    if is_url(entry.path):
        copy_to(Path(bundle.path), Path(stored.path))
        stored.metadata["stored"] = entry.path
    else:
        stored.uri = entry.path
    stored.metadata.update(version=entry.version, digest=entry.digest)
    return entry.version
