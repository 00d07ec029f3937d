"""What may be set about registering."""

from components.common.step import Settings


class RegisterSettings(Settings):
    """Section ``register``: the MLflow experiment that holds the candidates' runs ("" = ``sluice-<system>``)."""

    experiment: str = ""
