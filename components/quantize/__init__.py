"""ONNX variants of the encoder, measured, and the fastest that keeps quality."""
