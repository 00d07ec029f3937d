"""Recordings with a reference transcript become utterances: short sounds with the text that was said."""
