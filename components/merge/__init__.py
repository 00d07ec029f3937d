"""The adapter becomes part of the weights, and nothing changes."""
