"""The recipe of ``whisper-nano``, our own small speech model: texts, voices, training, samples."""
