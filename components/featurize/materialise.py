"""``python -m components.featurize.materialise``: load the online store anew, from files and feedback."""

import sys

import pandas as pd

from components.tasks import find, known
from serving.contract.errors import SluiceError


def materialise() -> list[str]:
    """Write features of the feedback so far, and load every view into the online store; returns whose, by task.

    What the pipelines wrote last is read from ``SLUICE_ARTIFACTS`` where that is an object store. A task that no
    pipeline has written features of is left out. Running it again gives the same, and fills an empty online store.
    Errors: `SluiceError` where no task has any, or a store does not answer.
    """
    from components.featurize import store
    from feature_repo.paths import features_dir

    folder, done = features_dir(), []
    with store.locked(folder):
        for task in known():
            if (features := find(task).features()) is None:
                continue
            objects = features.objects(folder)
            store.obtain(objects)
            if not all(file.is_file() for file in store.files(objects).values()):
                continue
            now = pd.Timestamp.now(tz="UTC").floor("us")
            feedback = features.feedback()
            store.write(objects, features.from_feedback(feedback, now))
            rows = {name: pd.read_parquet(file) for name, file in store.files(objects).items()}
            with store.opened(objects) as feast:
                store.load(feast, objects, features.pushed(rows, feedback, now), now)
            done.append(task)
    if not done:
        raise SluiceError(f"{folder}: no feature files; run a pipeline first, or see SLUICE_ARTIFACTS")
    return done


def main() -> int:
    """Materialise; returns the exit code."""
    try:
        print("loaded features of", ", ".join(materialise()))
    except SluiceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
