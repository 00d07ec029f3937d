"""Roll out: a canary beside the stable model, watched step by step, promoted or rolled back."""
