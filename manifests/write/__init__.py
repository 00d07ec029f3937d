"""Writes what repeats per endpoint, from the systems' declarations: `python -m manifests.write`.

parts.py: the texts; files.py: which file holds which, and what is not as declared. The routes that rules and dashboards
count as users' come from the tasks of the endpoints.
"""
