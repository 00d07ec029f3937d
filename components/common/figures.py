"""A step's figures as a KFP metrics artifact."""

import json
import math
from collections.abc import Mapping
from typing import Any

from serving.contract.files import atomic_file


def log_metrics(metrics: Any, figures: Mapping[str, float]) -> None:
    """Put figures into a KFP ``Metrics`` artifact (the UI shows them) and, as JSON, into its file; NaN is left out.

    Without the file kfp.local takes the step for one whose output is gone, and never serves it from its cache.
    """
    kept = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
    for name, value in kept.items():
        metrics.log_metric(name, round(value, 6))
    with atomic_file(metrics.path) as scratch:
        scratch.write_text(json.dumps(kept, indent=1))
