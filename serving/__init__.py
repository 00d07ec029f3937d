"""The bundle, the model classes that answer from one, the KServe server, and the laptop's stand-in for a cluster."""

import os

# Read when onnxruntime is loaded, which everything that loads it does after this; its Linux builds send telemetry else.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
