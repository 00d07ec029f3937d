"""Fit the ranker and its confidence on validation questions that the encoder was never trained on."""

import numpy as np

from components.pack.retrieval.examples import Examples
from serving.retrieval.calibration import FEATURES as MARGINS
from serving.retrieval.calibration import Calibration, margins
from serving.retrieval.ranker import FEATURES, QUERY_FEATURES, Ranker

_PRIOR = {"dense": 1.5, "bm25": 0.5, "dense_reciprocal_rank": 0.5, "bm25_reciprocal_rank": 0.5}
"""Weights of standardised features without any evidence: similarity first, words second, the rest silent."""

_FLOOR = 0.7
"""Below this share of the cosine that 99 of 100 validation questions reach, a question is about something else."""


def fit_ranker(examples: Examples, l2: float) -> Ranker:
    """Softmax cross-entropy over each question's candidates, minimised by L-BFGS; one result for one input.

    Questions whose gold passage is no candidate teach nothing and are left out. ``l2`` / 2 times the squared distance
    from the prior weights is added to the summed loss, so that few questions leave the prior almost as it is.
    """
    from scipy.optimize import minimize

    usable = (examples.gold & examples.found.valid).any(axis=1)
    data = examples.part(usable) if usable.any() else examples
    raw = data.features[data.found.valid] if len(data.features) else np.zeros((1, len(FEATURES)), np.float32)
    mean, scale = raw.mean(axis=0), raw.std(axis=0)
    scale = np.where(scale < 1e-6, 1.0, scale).astype(np.float32)
    prior = np.asarray([_PRIOR.get(name, 0.0) for name in FEATURES])
    weights = prior
    if usable.any():
        table = ((data.features - mean) / scale).astype(np.float64)
        answer = minimize(
            _loss, prior, args=(table, data.found.valid, data.gold, prior, l2), jac=True, method="L-BFGS-B"
        )
        weights = answer.x
    return Ranker(weights.astype(np.float32), mean, scale, raw.min(axis=0), raw.max(axis=0))


def _loss(
    weights: np.ndarray, table: np.ndarray, valid: np.ndarray, gold: np.ndarray, prior: np.ndarray, l2: float
) -> tuple[float, np.ndarray]:
    """Loss and gradient: -log of the probability mass on the gold candidates, summed over questions."""
    scores = np.where(valid, table @ weights, -np.inf)
    scores -= scores.max(axis=1, keepdims=True)
    mass = np.exp(scores)
    share = mass / mass.sum(axis=1, keepdims=True)
    right = share * (gold & valid)
    total = right.sum(axis=1, keepdims=True).clip(1e-12)
    gradient = np.einsum("qc,qcf->f", share - right / total, table) + l2 * (weights - prior)
    return float(-np.log(total).sum() + 0.5 * l2 * ((weights - prior) ** 2).sum()), gradient


def fit_calibration(margin: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, float]:
    """Platt scaling: weights [4] and bias of a logistic model from margins [q, 4] to ``correct`` bool [q].

    Platt's smoothed targets, (n+ + 1) / (n+ + 2) and 1 / (n- + 2), keep confidence off 0 and 1 when q is small.
    """
    from scipy.optimize import minimize

    if not len(margin):
        return np.zeros(len(MARGINS), np.float32), 0.0
    mean, scale = margin.mean(axis=0), margin.std(axis=0)
    scale = np.where(scale < 1e-6, 1.0, scale)
    table = np.column_stack([(margin - mean) / scale, np.ones(len(margin))])
    target = np.where(correct, (correct.sum() + 1) / (correct.sum() + 2), 1 / ((~correct).sum() + 2))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = table @ weights
        chance = 1 / (1 + np.exp(-logits))
        pull = np.append(weights[:-1], 0.0)
        value = np.logaddexp(0, logits).sum() - target @ logits + 0.5 * (pull**2).sum()
        return float(value), table.T @ (chance - target) + pull

    weights = minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B").x
    slopes = weights[:-1] / scale
    return slopes.astype(np.float32), float(weights[-1] - slopes @ mean)


def choose_threshold(confidence: np.ndarray, correct: np.ndarray, wrong_costs: float) -> float:
    """The confidence below which abstaining earns most: right answers +1, wrong ones -``wrong_costs``, none 0.

    With perfect calibration it is ``wrong_costs / (1 + wrong_costs)``. Measured utility may move it by a factor of two
    either way, no further: the optimum is flat, and a few lucky questions must not silence the system.
    """
    ideal = wrong_costs / (1 + wrong_costs)
    if not len(confidence):
        return ideal
    options = np.concatenate([[ideal], np.unique(confidence[(confidence > ideal / 2) & (confidence < ideal * 2)])])
    gain = np.where(correct, 1.0, -wrong_costs)
    utility = np.asarray([gain[confidence >= option].sum() for option in options])
    best = np.flatnonzero(utility >= utility.max() - 1e-9)
    return float(options[best[np.argmin(np.abs(options[best] - ideal))]])


def fit_rules(
    examples: Examples, half: np.ndarray, l2: float, wrong_costs: float
) -> tuple[Ranker, Calibration, np.ndarray]:
    """Ranker from the questions of ``half``, calibration and threshold from the others.

    Out: both, and the ranker's scores of all candidates, float32 [q, c].
    """
    ranker = fit_ranker(examples.part(half), l2)
    scores = ranker.score(examples.found, ranker.static(examples.features[:, :, len(QUERY_FEATURES) :]))
    margin = margins(scores, examples.found.features)
    correct = np.take_along_axis(examples.gold, scores.argmax(axis=1)[:, None], 1)[:, 0]
    weights, bias = fit_calibration(margin[~half], correct[~half])
    nearest = examples.found.features[:, :, 0].max(axis=1)
    floor = float(_FLOOR * np.quantile(nearest, 0.01))
    confidence = Calibration(weights, bias, 0.0, floor).confidence(margin[~half], nearest[~half])
    threshold = choose_threshold(confidence, correct[~half], wrong_costs)
    return ranker, Calibration(weights, bias, threshold, floor), scores
