"""Speech to text as it is served: features, decoding, and what comes out."""
