"""LoRA training of a model, with checkpoints, on one process or several."""
