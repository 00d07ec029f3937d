"""KServe's InferenceGraph on a laptop: the same object, the same router semantics, an address of its own."""
