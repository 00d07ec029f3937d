"""The bundle, the model classes that answer from one, the KServe server, and the laptop's stand-in for a cluster."""

import os
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # a task may be a folder elsewhere on the path: serving/<task>

# Read when onnxruntime is loaded, which everything that loads it does after this; its Linux builds send telemetry else.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
