"""The base model of highlights: the same encoder as retrieval's."""

from pathlib import Path

from components.base.fetch import fetch_base
from components.common.spec import Spec


def fetch(base_model: str, target: Path) -> Spec:
    """Write the encoder ``base_model`` as a model directory at ``target`` (`components.base.fetch`)."""
    return fetch_base(base_model, target, "highlights")
