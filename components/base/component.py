"""Step "Base model"."""

from kfp.dsl import Model, Output

from components.common.step import step


@step
def base(base_model: str, task: str, model: Output[Model]) -> None:
    """Fetch the base model and write it as one plain model directory.

    Args:
        base_model: A name of our own ("minilm", "whisper-tiny.en"), a Hugging Face id with "@revision" or without, or a
            directory; for transcription also a checkpoint file of openai-whisper.
        task: "retrieval", "transcription" or "highlights"; every later step reads it from what it is given.
        model: Directory: config.json, model.safetensors (float32), tokenizer.json, sluice.json (task, origin, use).
    """
    from pathlib import Path

    from components.tasks import find

    spec = find(task).base().fetch(base_model, Path(model.path))
    model.metadata.update(spec.model_dump(exclude_none=True))
