"""Who watched what: the log is the examples, feedback the clicks since, in a file."""

import pandas as pd

from components.featurize.settings import FeaturizeSettings as Settings  # noqa: F401
from feature_repo.tasks.watching import objects  # noqa: F401
from serving.contract.files import home

CORPUS, EXAMPLES = ("film_id",), ("click_id", "user_id", "film_id", "rating", "time")
SERVICE, ONLINE = "watching_v1", "viewers_v1"


def feedback():
    return pd.read_parquet(home() / "clicks.parquet")


def viewers(log):
    """What each click makes of its viewer, known a microsecond later: by the next click, not by itself."""
    log = log.sort_values("time", kind="stable")
    own = log.groupby("user_id")
    rows = pd.DataFrame({"user_id": log["user_id"], "event_timestamp": log["time"] + pd.Timedelta("1us")})
    rows["watched"] = own.cumcount() + 1
    rows["rating"] = own["rating"].cumsum() / rows["watched"]
    before = {user: films.tolist() for user, films in own["film_id"]}
    return rows.assign(last_films=[before[u][:n][-2:] for u, n in zip(rows["user_id"], rows["watched"], strict=True)])


def from_tables(films, log, clicks, now):
    views = log.sort_values("time").assign(views=lambda rows: rows.groupby("film_id").cumcount() + 1)
    popular = views[["film_id", "views"]].assign(event_timestamp=views["time"] + pd.Timedelta("1us"))
    return {"viewer_features": viewers(log), "film_features": popular}


def from_feedback(clicks, now):
    return {}


def pushed(rows, clicks, now):
    """The last known state of each viewer, moved on by the clicks since."""
    state = rows["viewer_features"].sort_values("event_timestamp").groupby("user_id").tail(1).set_index("user_id")
    new = clicks.groupby("user_id").agg(watched=("film_id", "size"), rating=("rating", "sum"), films=("film_id", list))
    old = state.reindex(new.index)
    seen = old["watched"].fillna(0).astype("int64")
    total = seen + new["watched"]
    last = [
        [*(films if n else []), *more][-2:]
        for films, n, more in zip(old["last_films"], seen, new["films"], strict=True)
    ]
    rating = (old["rating"].fillna(0) * seen + new["rating"]) / total
    moved = pd.DataFrame({"watched": total, "rating": rating, "last_films": last, "event_timestamp": now})
    return {"clicks": moved.reset_index()}


def entity_df(films, log, settings):
    return log[["click_id", "user_id", "film_id"]].assign(event_timestamp=log["time"])


def entity_rows(films, log):
    return log[["user_id"]].drop_duplicates()
