"""Register: a candidate with its lineage in MLflow, and the aliases that say who serves."""
