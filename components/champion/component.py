"""The step "Find champion"."""

from kfp.dsl import Input, Model, Output

from components.common.step import step


@step
def champion(system: str, challenger: Input[Model], fallback: Input[Model], champion: Output[Model]) -> str:
    """Which model serves at 100 % now? Its version in MLflow, or "base" when none was promoted yet.

    Args:
        system: Name of the system; the registered model is "sluice-<system>".
        challenger: The new bundle; if it was judged before, the champion of then is the answer.
        fallback: Bundle of the base model, the champion of a first run.
        champion: The champion's bundle: in its own place on a disk, copied from an object store (metadata ``stored``).
    """
    from pathlib import Path

    from components.champion.run import find_champion
    from components.common.storage import copy_to, is_url

    to_beat = find_champion(system, Path(challenger.path))
    if to_beat.path and to_beat.local and is_url(to_beat.path):
        copy_to(to_beat.local, Path(champion.path))
        champion.metadata["stored"] = to_beat.path
    else:
        champion.uri = to_beat.path or fallback.uri
    champion.metadata["version"] = to_beat.version
    return to_beat.version
