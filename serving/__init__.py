"""The bundle, the model classes that answer from one, the KServe server, and the laptop's stand-in for a cluster."""
