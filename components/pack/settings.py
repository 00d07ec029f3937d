"""What every pack can be told."""

from components.common.step import Settings


class PackSettings(Settings):
    """Section ``pack``; tasks add their own. ``mlflow_run``: the run that tracked the training, for the lineage."""

    system: str = "codebase"
    mlflow_run: str = ""
