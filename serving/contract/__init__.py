"""What the floors above may rely on: the bundle, how it is loaded, verdicts, errors, files, KServe's names."""
