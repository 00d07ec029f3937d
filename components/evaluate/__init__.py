"""Evaluate: how well the very bundle that would be served answers."""
