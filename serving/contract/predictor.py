"""What every task's predictor offers, whatever the model behind it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from serving.contract.bundle import Bundle


class Predictor(Protocol):
    """A loaded bundle. Every method may be called from several threads at once; none changes the predictor."""

    bundle: Bundle

    def warm(self) -> None:
        """Run one small prediction, so that the first user does not pay for it. Errors: `SluiceError`."""

    def parse(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Check one instance against the bundle's input schema and fill in the defaults.

        Out: a new dict with every input field. Errors: `SluiceError` that names the field, what is wrong with it, and
        what is expected.
        """

    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer a batch of parsed instances: one result dict each, in order, shaped as the bundle's output schema."""

    def close(self) -> None:
        """Stop background threads. Calling it twice does no harm."""


class Encoding(Predictor, Protocol):
    """A predictor with an encoder of texts."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Texts as vectors: float32 [n, dim], L2-normalised."""

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens the encoder reads of each text, after truncation: int32 [n]."""
