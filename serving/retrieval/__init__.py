"""The retrieval task: a question in, the passages that answer it out, with the sentences that say so."""
