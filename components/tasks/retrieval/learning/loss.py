"""The contrastive loss."""

import torch
from torch.nn.functional import cross_entropy


def info_nce(
    questions: torch.Tensor,
    passages: torch.Tensor,
    target: torch.Tensor,
    allowed: torch.Tensor,
    temperature: float,
    symmetric: bool = False,
) -> torch.Tensor:
    """InfoNCE (van den Oord et al. 2018) over in-batch and mined negatives; a scalar.

    In: ``questions`` [q, d] and ``passages`` [p, d] of length 1, ``target`` [q] the right passage of each question,
    ``allowed`` bool [q, p], False where a passage must not count as wrong (another gold, a copy of the gold).
    ``symmetric`` adds the same loss from each asked passage to its first question.
    """
    own = torch.nn.functional.one_hot(target, len(passages)).bool()
    scores = (questions @ passages.T / temperature).masked_fill(~(allowed | own), float("-inf"))
    loss = cross_entropy(scores, target)
    if not symmetric:
        return loss
    asked = own.any(0).nonzero()[:, 0]
    first = own.int().argmax(0)[asked]
    back = scores.T[asked]
    others = own.T[asked].clone()
    others[torch.arange(len(asked)), first] = False
    return (loss + cross_entropy(back.masked_fill(others, float("-inf")), first)) / 2
