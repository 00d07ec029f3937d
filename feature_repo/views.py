"""What the feature store knows of passages, of source code as of lectures, and who reads it."""

from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Int64, String

FOREVER = timedelta(0)


class Objects(NamedTuple):
    """Everything that `feast apply` registers."""

    passage: Entity
    passage_source: FileSource
    feedback_source: FileSource
    feedback_push: PushSource
    passage_features: FeatureView
    feedback_features: FeatureView
    retrieval_v1: FeatureService


def _source(name: str, folder: Path) -> FileSource:
    return FileSource(
        name=name,
        path=str(folder / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        file_format=ParquetFormat(),
    )


def _fields(*names: str) -> list[Field]:
    return [Field(name=name, dtype=Int64) for name in names]


def objects(folder: Path) -> Objects:
    """The repository's objects over the parquet files in ``folder`` (see components/featurize, which writes them).

    ``passage_features`` changes when a passage's file does (event time: the change). ``feedback_features`` are running
    totals: closed days come from the batch file, the day in progress through the push source ``feedback_push``.
    """
    passage = Entity(
        name="passage", join_keys=["passage_id"], value_type=ValueType.STRING, description="One retrievable passage"
    )
    passage_source = _source("passage_features", folder)
    feedback_source = _source("feedback_features", folder)
    push = PushSource(name="feedback_push", batch_source=feedback_source, description="Running totals, as users vote")
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
        name="retrieval_v1", features=[passage_features, feedback_features], description="What the ranker reads"
    )
    return Objects(passage, passage_source, feedback_source, push, passage_features, feedback_features, service)
