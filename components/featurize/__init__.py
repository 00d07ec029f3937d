"""Features of passages, as they were when each question was asked and as they are now."""
