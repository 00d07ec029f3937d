"""How retrieval learns: questions beside their passages, in-batch and mined hard negatives, protocol "withheld"."""

from components.tasks.retrieval.learning.contrast import STUDY, ContrastiveLearner, Settings, learner, read

__all__ = ["STUDY", "ContrastiveLearner", "Settings", "learner", "read"]
