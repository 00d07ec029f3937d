"""Adapter into weights, with the proof that nothing changed."""

import json
from pathlib import Path
from typing import Any

from serving.errors import SluiceError
from serving.files import atomic_dir

TOLERANCE = 1e-4
SAMPLES = (
    "How do I load a tokenizer from a local directory?",
    "def forward(self, input_ids, attention_mask=None): return self.encoder(input_ids, attention_mask)",
    "Why is the learning rate warmed up?",
    "class Trainer: runs the training loop, saves checkpoints and logs metrics. " * 8,
    "",
    "Größe der Stichprobe, 注意力掩码, emoji 🙂",
)
"""Short, long, code, prose, empty and non-English: the check must see every length and every kind of token."""


def merge(base: Path | str, adapter: Path | str, merged: Path | str) -> dict[str, float]:
    """Write base plus adapter as one model directory; its embeddings are those of the adapter on its base.

    The check reloads what was written and compares normalised embeddings of `SAMPLES` in float32: the largest absolute
    difference must stay under 1e-4, else `SluiceError` and nothing is written. Metrics: that difference, and
    ``mean_shift_cosine``, how far the adapter moved the samples from the base encoder (1 is not at all).
    """
    import numpy as np

    from components.base.encoder import TorchEncoder
    from components.train.lora import load_adapter

    if not (Path(adapter) / "adapter_config.json").is_file():
        raise SluiceError(f"{adapter}: no adapter_config.json, so no adapter to merge; run components/train first")
    encoder = TorchEncoder(base)
    before = encoder.encode(SAMPLES)
    config = _described(Path(adapter))
    if config["base_model"] != encoder.spec.base_model:
        raise SluiceError(
            f"{adapter}: trained on {config['base_model']}, not on {encoder.spec.base_model}; train again"
        )
    load_adapter(encoder, adapter)
    wanted = encoder.encode(SAMPLES)
    encoder.model = encoder.model.merge_and_unload()
    with atomic_dir(merged) as scratch:
        encoder.model.save_pretrained(scratch)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (Path(base) / name).is_file():
                (scratch / name).write_bytes((Path(base) / name).read_bytes())
        encoder.spec.model_copy(update={"adapter": config}).write(scratch)
        difference = check(scratch, wanted)
    shift = float(np.mean(np.sum(before * wanted, axis=1)))
    return {"max_abs_difference": difference, "mean_shift_cosine": shift, "rank": float(config["rank"])}


def check(directory: Path, wanted: Any) -> float:
    """Largest absolute difference of a model directory's embeddings of `SAMPLES` from ``wanted``; raises over 1e-4."""
    import numpy as np

    from components.base.encoder import TorchEncoder

    difference = float(np.abs(TorchEncoder(directory).encode(SAMPLES) - wanted).max())
    if not difference < TOLERANCE:
        raise SluiceError(
            f"merge: embeddings differ by {difference:.1e} from the adapter on its base, {TOLERANCE:.0e} is allowed; "
            "check that the adapter was trained in float32 on this base"
        )
    return difference


def _described(adapter: Path) -> dict[str, Any]:
    """What a bundle says about the adapter that went into it."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    return {
        "base_model": config["base_model_name_or_path"],
        "rank": config["r"],
        "alpha": config["lora_alpha"],
        "dropout": config["lora_dropout"],
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in config["target_modules"]}),
    }
