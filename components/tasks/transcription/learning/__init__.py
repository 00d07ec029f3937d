"""How transcription learns: teacher forcing on perturbed and masked windows, word errors on the validation split."""

from components.tasks.transcription.learning.speech import STUDY, Settings, SpeechLearner, learner, read

__all__ = ["STUDY", "Settings", "SpeechLearner", "learner", "read"]
