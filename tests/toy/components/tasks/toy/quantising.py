import json
import time

import numpy as np

from components.quantize.variants import Measured, QuantizeSettings
from components.tasks.toy.data import read
from serving.toy.model import sides

Settings = QuantizeSettings


def measure(model, corpus, examples, settings, out):
    weights, table = (
        np.array(json.loads((model / "weights.json").read_text()), "float32"),
        read(corpus, examples, "val"),
    )
    scale, figures = float(abs(weights).max() or 1) / 127, {}
    variants = {"fp32": (weights, 1.0), "int8": (np.rint(weights / scale).astype("int8"), scale)}
    for name, (stored, unit) in variants.items():
        np.savez(out / f"{name}.npz", weights=stored, scale=unit)
        began, found = time.perf_counter(), sides(out / f"{name}.npz", table[["x", "y"]].to_numpy())
        figures[name] = {
            "bytes": stored.nbytes, "p50_ms_batch1": (time.perf_counter() - began) * 1000,
            "max_abs_difference": float(abs(stored * unit - weights).max()),
            "accuracy_val": float((found == table["side"]).mean()),
        }  # fmt: skip
    files = {name: f"{name}.npz" for name in variants}
    return Measured({}, files, figures, "accuracy_val", "accuracy", "fifty points", [("bytes", "Size, bytes", 1.0)])
