"""ONNX variants of a model, measured, and the fastest that keeps quality."""
