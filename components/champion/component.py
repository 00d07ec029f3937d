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

    found = find_champion(system, Path(challenger.path))
    if found.path and found.local and is_url(found.path):
        copy_to(found.local, Path(champion.path))
        champion.metadata["stored"] = found.path
    else:
        champion.uri = found.path or fallback.uri
    champion.metadata["version"] = found.version
    return found.version
