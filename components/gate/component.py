"""The step "Compare with champion"."""

from typing import NamedTuple

from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.common.step import step


@step
def gate(
    challenger: Input[Dataset],
    champion: Input[Dataset],
    base: Input[Dataset],
    data: Input[Artifact],
    quantisation: Input[Artifact],
    settings: dict,  # type: ignore[type-arg]
    verdict: Output[Artifact],
    report: Output[HTML],
) -> NamedTuple("Outcome", [("passed", bool), ("reason", str)]):  # type: ignore[valid-type]
    """Does the challenger beat the champion on the same examples, and everything trivial too?

    Args:
        challenger: Predictions of the bundle that wants to be served (components/evaluate).
        champion: Predictions of the bundle that is served, on the same examples.
        base: Predictions of the base model's bundle, on the same examples.
        data: Verdict of the data gate.
        quantisation: Verdict of the quantisation gate.
        settings: Section "gate" (components/gate/settings.py and the task's own beside it).
        verdict: The verdicts of all gates so far (JSON list).
        report: Page with the differences, their intervals and every slice.
    """
    from pathlib import Path

    from components.gate.gate import judge_files

    predictions = {"challenger": challenger.path, "champion": champion.path, "base": base.path}
    earlier = {"data": Path(data.path), "quantisation": Path(quantisation.path)}
    rivals = {who: Path(path) for who, path in predictions.items()}
    return judge_files(rivals, earlier, settings, Path(verdict.path), Path(report.path))
