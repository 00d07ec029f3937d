"""Step 1: a source tree (Python, Markdown, git history, issues) becomes passages that fit the encoder's window."""
