"""What the feature store knows of passages, of source code as of lectures, and who reads it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, PushSource, ValueType
from feast.types import Int64, String

from feature_repo.tasks import source
from serving.retrieval import PASSAGES

FOREVER = timedelta(0)
SERVICE = PASSAGES.service


def objects(folder: Path) -> list[Any]:
    """What is registered, over the parquet files in ``folder``.

    ``passage_features`` changes when a passage's file does (event time: the change). ``feedback_features`` are running
    totals: closed days come from the batch file, the day in progress through the push source.
    """
    passage = Entity(
        name="passage", join_keys=[PASSAGES.entity], value_type=ValueType.STRING, description="One retrievable passage"
    )
    passage_source, feedback_source = source("passage_features", folder), source("feedback_features", folder)
    push = PushSource(name=PASSAGES.push, batch_source=feedback_source, description="Running totals, as users vote")
    passage_features = FeatureView(
        name="passage_features",
        entities=[passage],
        ttl=FOREVER,
        schema=[Field(name="kind", dtype=String), *_fields("n_tokens", "documented", "changed_day", "n_changes")],
        source=passage_source,
        description="kind; tokens; 1 if documented; day of the last change since 1970; commits that touched the file",
    )
    feedback_features = FeatureView(
        name="feedback_features",
        entities=[passage],
        ttl=FOREVER,
        schema=_fields("shown", "up", "down"),
        source=push,
        description="How often the passage was among an answer's sources, and how users voted on those answers",
    )
    service = FeatureService(
        name=SERVICE, features=[passage_features, feedback_features], description="What the ranker reads"
    )
    return [passage, passage_source, feedback_source, push, passage_features, feedback_features, service]


def _fields(*names: str) -> list[Field]:
    return [Field(name=name, dtype=Int64) for name in names]
