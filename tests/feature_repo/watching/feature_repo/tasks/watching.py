from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, PushSource, ValueType
from feast.types import Array, Float64, Int64, String

from feature_repo.tasks import source


def objects(folder):
    viewer = Entity(name="viewer", join_keys=["user_id"], value_type=ValueType.INT64)
    film = Entity(name="film", join_keys=["film_id"], value_type=ValueType.STRING)
    watched = Field(name="watched", dtype=Int64)
    tastes = [watched, Field(name="rating", dtype=Float64), Field(name="last_films", dtype=Array(String))]
    clicks = PushSource(name="clicks", batch_source=source("viewer_features", folder))
    viewers = FeatureView(name="viewer_features", entities=[viewer], ttl=timedelta(0), schema=tastes, source=clicks)
    films = FeatureView(
        name="film_features", entities=[film], ttl=timedelta(0), schema=[Field(name="views", dtype=Int64)],
        source=source("film_features", folder),
    )  # fmt: skip
    both = FeatureService(name="watching_v1", features=[viewers, films])
    return [viewer, film, clicks, clicks.batch_source, films.batch_source, viewers, films, both,
            FeatureService(name="viewers_v1", features=[viewers])]  # fmt: skip
