"""The steps of the pipelines: one folder a step, a typed KFP shell beside the plain modules that do the work."""
