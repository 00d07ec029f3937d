"""How highlights learn: which sentences of a document its reference bullets are made of."""

from components.tasks.highlights.learning.salience import STUDY, SalienceLearner, Settings, learner, read

__all__ = ["STUDY", "SalienceLearner", "Settings", "learner", "read"]
