"""KServe's Standard mode on a laptop: a Deployment a predictor, stable and canaries side by side, routed by weight."""
