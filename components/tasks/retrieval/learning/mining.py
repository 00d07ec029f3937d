"""Hard negatives, and batches in which they meet."""

from collections.abc import Sequence

import numpy as np
import torch

from components.common.encoder import TorchEncoder
from components.tasks.retrieval.learning.data import Corpus

DEPTH = 20
TOKENS = 64
DUPLICATE = 0.95
"""Cosine from which another passage is no wrong answer but a copy."""


def mine(encoder: TorchEncoder, data: Corpus, keep: int, duplicate: float = DUPLICATE) -> list[list[int]]:
    """For each passage, up to ``keep`` passages that the base encoder ranks high for its questions but that are wrong.

    Looks at the `DEPTH` best ranks of each question, leaves out golds and passages within cosine ``duplicate`` of the
    gold (copies of the same code are no mistake), nearest first. Texts are cut at `TOKENS`: the point is to find
    neighbours cheaply. One list of row numbers per passage, empty where it has no question.
    """
    hard: list[list[int]] = [[] for _ in data.passages]
    if not keep:
        return hard
    encoder.model.eval()
    with torch.inference_mode():
        passages = encoder.embed_sorted([ids[:TOKENS] for ids in data.passages], 64)
        questions = encoder.embed_sorted([ids[:TOKENS] for ids in data.questions], 64)
        depth = min(DEPTH, len(passages))
        for at in range(0, len(questions), 512):
            best = (questions[at : at + 512] @ passages.T).topk(depth).indices
            gold = passages[torch.tensor(data.first[at : at + 512], device=passages.device)]
            alike = torch.einsum("qkd,qd->qk", passages[best], gold)
            for row, (ranked, cosine) in enumerate(zip(best.tolist(), alike.tolist(), strict=True)):
                wrong = hard[data.first[at + row]]
                for passage, similarity in zip(ranked, cosine, strict=True):
                    known = passage in data.golds[at + row] or passage in wrong
                    if not known and similarity < duplicate and len(wrong) < keep:
                        wrong.append(passage)
    return hard


def plan(data: Corpus, hard: Sequence[Sequence[int]], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of passage rows for one epoch: every passage with a question once, beside its hard negatives.

    A mined negative brings its own questions along, so it costs nothing extra; one without questions fills a place as a
    negative only. Depends on nothing but its arguments, so a resumed run finds the same batches. Every batch is full,
    except that the only batch of a tiny corpus may be smaller.
    """
    asked = data.questions_of()
    rng = np.random.default_rng([seed, epoch])
    waiting = dict.fromkeys(rng.permutation(sorted(asked)).tolist())
    batches: list[list[int]] = []
    while waiting:
        rows: dict[int, None] = {}
        while waiting and len(rows) < batch:
            seed_row = next(iter(waiting))
            for row in [seed_row, *hard[seed_row]]:
                fresh = row in waiting or row not in asked
                if fresh and len(rows) < batch:
                    rows[row] = None
                    waiting.pop(row, None)
        batches.append(list(rows))
    if len(batches) > 1 and len(batches[-1]) < batch:
        batches.pop()  # a small last batch has easy negatives; the next epoch's order brings its passages back
    return [batches[i] for i in rng.permutation(len(batches))]
