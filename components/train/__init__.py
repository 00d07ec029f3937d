"""LoRA training of the encoder, with checkpoints, on one process or several."""
