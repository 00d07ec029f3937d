"""Fit the ranker and its confidence on validation questions that the encoder was never trained on."""

from dataclasses import dataclass

import numpy as np

from components.tasks.retrieval.packing.examples import Examples
from serving.retrieval.calibration import FEATURES as JUDGED
from serving.retrieval.calibration import Calibration, margins
from serving.retrieval.ranker import FEATURES, QUERY_FEATURES, Ranker

_PRIOR = {"dense": 1.5, "bm25": 0.5, "dense_reciprocal_rank": 0.5, "bm25_reciprocal_rank": 0.5}
"""Weights of standardised features without any evidence: similarity first, words second, the rest silent."""

_ODDS = {"log_odds": 0.6, "coverage": 1.7, "lead": 3.3}
_BIAS = -0.7
"""Confidence without any evidence: what the half of the persona set that may be fitted gave, rounded."""

_STIFFNESS, _BIAS_STIFFNESS = 4.0, 2.0
"""Pull towards that, in nats for a slope that is 0 or double, and for one unit of bias: about ten questions' worth."""

_FEW = 60
"""Fewer questions in users' words than this move all slopes by one factor: three slopes would fit the noise."""

_RULE, _NOWHERE = 0.2, 0.1
"""Weights of a question made by rule and of one without an answer here, where a user's answerable question has 1."""

_FLOOR = 0.7
"""Below this share of the cosine that 99 of 100 validation questions reach, a question is about something else."""

L2 = 1.0
"""Pull of the ranker's weights towards its prior, in nats per question set."""


def fit_ranker(examples: Examples) -> Ranker:
    """Softmax cross-entropy over each question's candidates, minimised by L-BFGS; one result for one input.

    Questions whose gold passage is no candidate teach nothing and are left out. `L2` / 2 times the squared distance
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
        answer = minimize(_loss, prior, args=(table, data.found.valid, data.gold, prior), jac=True, method="L-BFGS-B")
        weights = answer.x
    return Ranker(weights.astype(np.float32), mean, scale, raw.min(axis=0), raw.max(axis=0))


def _loss(
    weights: np.ndarray, table: np.ndarray, valid: np.ndarray, gold: np.ndarray, prior: np.ndarray
) -> tuple[float, np.ndarray]:
    """Loss and gradient: -log of the probability mass on the gold candidates, summed over questions."""
    scores = np.where(valid, table @ weights, -np.inf)
    scores -= scores.max(axis=1, keepdims=True)
    mass = np.exp(scores)
    share = mass / mass.sum(axis=1, keepdims=True)
    right = share * (gold & valid)
    total = right.sum(axis=1, keepdims=True).clip(1e-12)
    gradient = np.einsum("qc,qcf->f", share - right / total, table) + L2 * (weights - prior)
    return float(-np.log(total).sum() + 0.5 * L2 * ((weights - prior) ** 2).sum()), gradient


@dataclass(frozen=True)
class Judged:
    """Answered questions: ``margin`` float32 [q, 6], ``nearest`` cosine [q], ``correct``: whether the first source is.

    ``weight`` [q] in the fit; ``rule`` bool [q]: made by rule, not in users' words.
    """

    margin: np.ndarray
    nearest: np.ndarray
    correct: np.ndarray
    weight: np.ndarray
    rule: np.ndarray

    @classmethod
    def of(cls, examples: Examples, scores: np.ndarray, rule: bool) -> "Judged":
        """From questions with the ranker's ``scores`` [q, c]; those that the source does not answer are never right."""
        first = scores.argmax(axis=1)[:, None]
        margin = margins(scores, examples.found, np.take_along_axis(examples.coverage, first, 1)[:, 0])
        correct = np.take_along_axis(examples.gold, first, 1)[:, 0]
        weight = np.full(len(scores), _RULE) if rule else np.where(examples.answerable, 1.0, _NOWHERE)
        return cls(margin, examples.found.features[:, :, 0].max(axis=1), correct, weight, np.full(len(scores), rule))

    def join(self, other: "Judged") -> "Judged":
        """Both, one after the other."""
        return Judged(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__annotations__))

    def part(self, chosen: np.ndarray) -> "Judged":
        """The questions where ``chosen`` (bool [q]) is true."""
        return Judged(*(getattr(self, name)[chosen] for name in self.__annotations__))


def fit_calibration(judged: Judged) -> tuple[np.ndarray, float]:
    """Platt scaling around a prior: weights [3], never negative, and bias of a logistic model of ``correct``.

    Maximum a posteriori: slopes are factors of the prior's, one for all of them below `_FEW` questions of users. Rule
    questions shape the slopes only and have a bias of their own, since their sentence is cut out of the searched text.
    """
    from scipy.optimize import minimize

    prior = np.asarray([_ODDS[name] for name in JUDGED])
    terms = judged.margin[:, : len(JUDGED)] * prior
    one = (~judged.rule).sum() < _FEW
    table = np.column_stack([terms.sum(axis=1, keepdims=True) if one else terms, np.ones(len(terms)), judged.rule])
    start = np.append(np.ones(table.shape[1] - 2), [_BIAS, 0.0])
    slope = _STIFFNESS * (len(JUDGED) if one else 1)
    stiffness = np.append(np.full(table.shape[1] - 2, slope), [_BIAS_STIFFNESS, 1e-3])

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        logits, away = table @ point, point - start
        chance = 1 / (1 + np.exp(-logits))
        value = (judged.weight * (np.logaddexp(0, logits) - judged.correct * logits)).sum()
        gradient = table.T @ (judged.weight * (chance - judged.correct)) + stiffness * away
        return float(value + 0.5 * (stiffness * away**2).sum()), gradient

    bounds = [(0, None)] * (table.shape[1] - 2) + [(None, None)] * 2
    point = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return (prior * point[:-2]).astype(np.float32), float(point[-2])


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
    examples: Examples, half: np.ndarray, users: Examples | None, wrong_costs: float
) -> tuple[Ranker, Calibration, np.ndarray]:
    """Ranker from the questions of ``half``; confidence from the others and, above all, from those of ``users``.

    ``users``: questions in users' words on the served index, which the ranker was not fitted on. The threshold is
    chosen on those of them that have an answer; where they are few, it is the one for perfect calibration. Out: both,
    and the ranker's scores of all candidates of ``examples``, float32 [q, c].
    """
    ranker = fit_ranker(examples.part(half))
    scores = _scores(ranker, examples)
    judged = Judged.of(examples, scores, rule=True).part(~half)
    if users is not None:
        judged = judged.join(Judged.of(users, _scores(ranker, users), rule=False))
    weights, bias = fit_calibration(judged)
    answerable = judged.part(judged.weight != _NOWHERE)
    floor = float(_FLOOR * np.quantile(answerable.nearest, 0.01)) if len(answerable.nearest) else 0.0
    asked = answerable.part(~answerable.rule)
    if len(asked.correct) < _FEW:
        asked = asked.part(np.zeros(len(asked.correct), bool))
    confidence = Calibration(weights, bias, 0.0, floor).confidence(asked.margin, asked.nearest)
    threshold = choose_threshold(confidence, asked.correct, wrong_costs)
    return ranker, Calibration(weights, bias, threshold, floor), scores


def _scores(ranker: Ranker, examples: Examples) -> np.ndarray:
    return ranker.score(examples.found, ranker.static(examples.features[:, :, len(QUERY_FEATURES) :]))
