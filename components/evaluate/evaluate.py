"""Evaluate a bundle from files to files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.tasks import find
from serving.contract.bundle import Bundle
from serving.contract.files import atomic_file


def evaluate_files(
    bundle: Path,
    corpus: Path,
    examples: Path,
    settings: Mapping[str, Any],
    predictions: Path,
    page: Path,
    asked: Path,
) -> dict[str, float]:
    """Measure the bundle directory on the frozen examples, as its task is measured (components/tasks/<task>).

    Written: ``predictions`` (parquet with a constant column ``task``), ``page`` (HTML, which carries bundle, counts and
    figures as data) and ``asked``: JSON lines of requests with their labels (id, task, persona, instance, expect,
    units), for load tests and the canary. Out: figures by name and protocol. Errors: `SluiceError` for a directory that
    is no bundle, a missing column, or a test set that is empty.
    """
    about = Bundle.read(bundle)
    own = find(about.task).evaluating()
    found = own.evaluate(bundle, corpus, examples, own.Settings(**settings))
    requests = [{**row, "task": about.task} for row in own.asked(corpus, examples)]
    with atomic_file(asked) as scratch:
        scratch.write_text("".join(json.dumps(row) + "\n" for row in requests))
    with atomic_file(predictions) as scratch:
        found.predictions.assign(task=about.task).to_parquet(scratch, index=False, coerce_timestamps="us")
    told = {"system": about.system, "task": about.task, "base_model": about.base_model, "adapter": about.adapter}
    told |= {"variant": about.variant, "variants": {k: v.model_dump() for k, v in about.variants.items()}}
    found.page.data("bundle", told).data("counts", found.counts).data("figures", found.figures)
    found.page.data("showcase", found.showcase).write(page)
    return found.figures
