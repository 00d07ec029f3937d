"""The step "Report"."""

from kfp.dsl import HTML, Input, Output

from components.common.step import step


@step
def report(
    data: Input[HTML],
    quantisation: Input[HTML],
    evaluation: Input[HTML],
    gate: Input[HTML],
    page: Output[HTML],
    study: Input[HTML] = None,
    training: Input[HTML] = None,
    rollout: Input[HTML] = None,
) -> None:
    """Everything about this run on one page: what was built, whether it was promoted and why, and every step's page.

    Args:
        data: Page of "Validate data".
        quantisation: Page of "Quantize".
        evaluation: Page of "Evaluate challenger"; it names the system and carries what is worth showing.
        gate: Page of "Compare with champion".
        page: The report; also written to $SLUICE_HOME/reports.
        study: Page of "Best trial", where something was trained.
        training: Page of "Train adapter", where something was trained.
        rollout: Page of "Roll out", where the gate let the challenger pass.
    """
    from pathlib import Path

    from components.report.build import report_files

    steps = {"data": data, "study": study, "training": training, "quantisation": quantisation}
    steps |= {"evaluation": evaluation, "gate": gate, "rollout": rollout}
    report_files({name: Path(given.path) if given else None for name, given in steps.items()}, Path(page.path))
