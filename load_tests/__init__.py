"""Locust users and personas, service-level objectives in YAML, and the load gate that judges a run by them."""
