"""Transcripts become clean sentences with times, and segments at topic boundaries that the retriever can index."""
