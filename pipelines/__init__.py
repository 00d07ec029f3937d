"""The systems as pipelines, and the command line that compiles, runs and serves them."""
