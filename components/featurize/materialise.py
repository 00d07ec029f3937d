"""``python -m components.featurize.materialise``: load the online store anew, from the feature files and the votes."""

import sys

import pandas as pd

from components.featurize import sources
from components.featurize.run import current_counts
from serving.contract.errors import SluiceError
from serving.feedback import daily_counts, feedback_url


def materialise() -> None:
    """Count the votes so far, write their features, and load every view into the online store.

    What the pipelines wrote last is read from ``SLUICE_ARTIFACTS`` where that is an object store. Running it again
    gives the same, and fills an empty online store. Errors: `SluiceError` where no pipeline has written features yet,
    or a store does not answer.
    """
    from components.featurize import store as feast_store
    from feature_repo.paths import features_dir

    folder = features_dir()
    with feast_store.locked(folder):
        feast_store.obtain(folder)
        if not (folder / "passage_features.parquet").is_file():
            raise SluiceError(f"{folder}: no feature files; run a pipeline first, or see SLUICE_ARTIFACTS")
        now = pd.Timestamp.now(tz="UTC").floor("us")
        daily = daily_counts(feedback_url())
        sources.write_source(
            sources.feedback_rows(daily, now.floor("D")), sources.FEEDBACK_SCHEMA, folder / "feedback_features.parquet"
        )
        with feast_store.opened() as store:
            feast_store.load(store, current_counts(daily, now), now)


def main() -> int:
    """Materialise; returns the exit code."""
    try:
        materialise()
    except SluiceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
