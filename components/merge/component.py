"""Step "Merge"."""

from kfp.dsl import Input, Metrics, Model, Output

from components.common.step import step


@step
def merge(base: Input[Model], adapter: Input[Model], merged: Output[Model], metrics: Output[Metrics]) -> None:
    """Merge the adapter into the base model and prove that its outputs stay the same.

    Args:
        base: Model directory of the base model.
        adapter: peft directory that was trained on it.
        merged: Model directory, float32, same format as the base; sluice.json names the adapter.
        metrics: Largest absolute difference of outputs on fixed samples (under 1e-4), and mean cosine to the base.
    """
    from components.common.figures import log_metrics
    from components.merge.run import merge as run

    log_metrics(metrics, run(base.path, adapter.path, merged.path))
