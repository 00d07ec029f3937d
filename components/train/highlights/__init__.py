"""How highlights learn: which sentences of a document its reference bullets are made of."""

from components.train.highlights.salience import STUDY, SalienceLearner, Settings, learner, read

__all__ = ["STUDY", "SalienceLearner", "Settings", "learner", "read"]
