"""How good the encoder is on the validation split while it trains: dense retrieval alone, protocol "withheld"."""

from dataclasses import dataclass

import torch

from components.common.encoder import TorchEncoder
from components.tasks.retrieval.learning.data import Corpus, sample


@dataclass(frozen=True)
class Validation:
    """Validation questions and the passages they are ranked among; ``protocol`` completes the metrics' names.

    "full_withheld_val" ranks every passage of the split; "of600_withheld_val" 600 of them: a smaller field, so easier.
    """

    data: Corpus
    protocol: str

    def measure(self, encoder: TorchEncoder) -> dict[str, float]:
        """Mean reciprocal rank and recall@1 of the best gold passage, in 0..1, higher is better."""
        encoder.model.eval()
        with torch.inference_mode():
            passages = encoder.embed_sorted(self.data.passages, 64)
            questions = encoder.embed_sorted(self.data.questions, 64)
            scores = questions @ passages.T
            ranks = []
            for row, golds in enumerate(self.data.golds):
                best = scores[row, sorted(golds)].max()
                ranks.append(1 + int((scores[row] > best).sum()))
        placed = torch.tensor(ranks, dtype=torch.float64)
        return {
            f"mrr_{self.protocol}": float((1 / placed).mean()),
            f"recall@1_{self.protocol}": float((placed == 1).double().mean()),
        }


def validation(full: Corpus, n_questions: int, n_passages: int, seed: int) -> Validation:
    """A fixed sample of the validation split; all of its passages where ``n_passages`` is 0 or covers them."""
    data = sample(full, n_questions, n_passages, seed)
    whole = len(data.passages) == len(full.passages)
    return Validation(data, "full_withheld_val" if whole else f"of{len(data.passages)}_withheld_val")
