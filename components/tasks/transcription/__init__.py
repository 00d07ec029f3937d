"""Transcription: sound to timed text."""
