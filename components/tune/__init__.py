"""A study of hyperparameters, shared by its workers."""
