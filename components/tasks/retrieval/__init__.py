"""Retrieval: passages that answer a question, and how sure that is."""
