from kfp import dsl

from components.points.component import points
from pipelines.release import release, validated
from pipelines.settings import load_settings
from pipelines.tasks import named


@dsl.pipeline(name="toys", description="Points and their sides")
def toys(base_model: str = "nothing", revision: str = ""):
    """Points, a model from nothing, its gates and its endpoint."""
    settings = load_settings("toys")
    made = named(points(), "Make points", "points")
    checked = validated("toy", made.outputs["corpus"], made.outputs["examples"], settings)
    release("toys", "toy", base_model, checked, settings, study=False)
