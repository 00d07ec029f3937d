"""The head while it learns: the same sum as `serving.highlights.head.Head`, in torch."""

import torch

from serving.highlights.features import CENTROID, NAMES
from serving.highlights.head import Head

START = 0.3
"""First weight of the centroid feature: training starts where the untrained head stands."""


class TorchHead(torch.nn.Module):
    """Scores of a document's sentences.

    ``pace``: how many times faster than the adapter it learns. The loop knows one learning rate, and AdamW's steps are
    of the rate's size whatever the gradient's: weights kept ``pace`` times smaller than they act move that much faster.
    """

    def __init__(self, dim: int, hidden: int, pace: float) -> None:
        super().__init__()
        self.pace = pace
        width, count = dim + len(NAMES), len(NAMES)
        by_feature = torch.zeros(count)
        by_feature[CENTROID] = START
        self.by_vector = torch.nn.Parameter(torch.zeros(dim))
        self.by_feature = torch.nn.Parameter(by_feature / pace)
        self.inner = torch.nn.Parameter(torch.randn(width, hidden) * width**-0.5 / pace)
        self.bias = torch.nn.Parameter(torch.zeros(hidden))
        self.out = torch.nn.Parameter(torch.zeros(hidden))

    def forward(self, vectors: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Scores [n] of vectors [n, dim] and features [n, F], centroid included; gradients flow into both."""
        scores = vectors @ self.by_vector + features @ (self.by_feature * self.pace)
        if self.out.numel():
            both = torch.cat([vectors, features], dim=1)
            scores = scores + torch.relu(both @ (self.inner * self.pace) + self.bias) @ (self.out * self.pace)
        return scores

    def plain(self) -> Head:
        """The head as serving reads it."""
        pace = self.pace
        parts = (self.by_vector, self.by_feature * pace, self.inner * pace, self.bias, self.out * pace)
        return Head(*(part.detach().float().cpu().numpy() for part in parts))


def with_centroid(features: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """`serving.highlights.features.with_centroid` with gradients: the encoder learns what is central."""
    mean = vectors.mean(0)
    cosine = vectors @ (mean / mean.norm().clamp(min=1e-9))
    spread = cosine.std(correction=0)
    column = (cosine - cosine.mean()) / spread.clamp(min=1e-6)
    return torch.cat([features[:, :CENTROID], column[:, None], features[:, CENTROID + 1 :]], dim=1)
