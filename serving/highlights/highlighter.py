"""The highlights predictor: sentences in, a bullet summary with its places out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.contract.bundle import Bundle
from serving.core.onnx_encoder import OnnxEncoder
from serving.highlights.features import of_texts, with_centroid
from serving.highlights.head import Head
from serving.highlights.schema import read
from serving.highlights.select import choose
from serving.highlights.text import Sentence, words


class Highlighter:
    """A bundle of task highlights, opened (see `serving.contract.predictor.Predictor`)."""

    def __init__(self, bundle: Bundle, encoder: OnnxEncoder, head: Head) -> None:
        self.bundle, self.encoder, self.head = bundle, encoder, head

    @classmethod
    def open(cls, directory: Path, bundle: Bundle, variant: str | None = None, threads: int = 1) -> "Highlighter":
        """Read encoder and head of the bundle at ``directory``. Errors: `SluiceError` if one is missing or broken."""
        spec = bundle.text_encoder()
        encoder = OnnxEncoder(directory, bundle.file_of(variant), threads, spec.max_tokens)
        return cls(bundle, encoder, Head.read(directory))

    def warm(self) -> None:
        """Summarise two sentences, so that the first user does not pay for it."""
        self.predict([self.parse({"text": "Water flows downhill. A sluice holds it back until it is needed."})])

    def parse(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Check one instance (`serving.highlights.schema.read`). Errors: `SluiceError` naming the field."""
        return read(payload)

    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Bullets of each parsed instance (`serving.highlights.schema.OUTPUTS`); all sentences are encoded at once."""
        vectors = self.embed([sentence.text for instance in instances for sentence in instance["sentences"]])
        results, at = [], 0
        for instance in instances:
            sentences = instance["sentences"]
            mine = vectors[at : at + len(sentences)]
            at += len(sentences)
            results.append({**self._summary(sentences, mine, instance["max_bullets"]), **instance["given"]})
        return results

    def _summary(self, sentences: Sequence[Sentence], vectors: np.ndarray, most: int | None) -> dict[str, Any]:
        if not sentences:  # a silent recording
            return {"bullets": [], "length_ratio": 0.0}
        scores = self.score([sentence.text for sentence in sentences], vectors)
        sizes = [len(words(sentence.text)) for sentence in sentences]
        chosen = choose(scores, vectors, sizes, self.head.selection, most)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        bullets = [{**sentences[i]._asdict(), "score": round(float(shares[i]), 4), "sentence": i} for i in chosen]
        ratio = sum(sizes[i] for i in chosen) / max(1, sum(sizes))
        return {"bullets": bullets, "length_ratio": round(ratio, 4)}

    def score(self, texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        """The head's scores of one document's sentences, float32 [n]; ``vectors`` [n, dim] are theirs."""
        return self.head.score(vectors, with_centroid(of_texts(texts), vectors))

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts: float32 [n, dim], L2-normalised."""
        return self.encoder.encode(texts)

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens that the encoder reads of each text, after truncation: int32 [n]."""
        return self.encoder.count_tokens(texts)

    def close(self) -> None:
        """Nothing runs in the background."""
