"""The Feast repository: entities, sources, views and services."""
