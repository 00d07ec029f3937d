"""Highlights: the sentences of a text that sum it up."""
