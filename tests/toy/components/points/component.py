"""Step "Make points": points of a plane, and on which side of a line each lies."""

from kfp.dsl import Dataset, Output

from components.common.step import step


@step
def points(corpus: Output[Dataset], examples: Output[Dataset]) -> None:
    """Write x and y of 400 points, and their sides, one in ten of them wrong."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(7)
    place = rng.normal(0, 1, (400, 2)).round(3)
    side = (place @ [1.0, -2.0] > 0.5) ^ (rng.random(400) < 0.1)
    ids = [f"p{n}" for n in range(400)]
    split = np.repeat(["train", "val", "test"], [200, 50, 150])
    pd.DataFrame({"id": ids, "x": place[:, 0], "y": place[:, 1], "split": split}).to_parquet(corpus.path)
    pd.DataFrame({"id": ids, "side": side, "split": split}).to_parquet(examples.path)
