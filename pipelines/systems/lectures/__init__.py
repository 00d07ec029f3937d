"""lectures: transcripts, bullets and answers from recordings."""
