"""The page that shows how a training run went."""

from pathlib import Path
from typing import Any

from components.common.page import Page, new_figure


def write_page(record: dict[str, Any], path: Path | str) -> None:
    """Write loss and validation curves, hyperparameters and figures of a training record as one HTML file."""
    page = Page("Training", record["about"])
    metrics, name = record["metrics"], record["metric"]
    page.tiles(
        [
            ("Best", metrics[name], name),
            ("Base", metrics[f"{name}_base"], "before training"),
            ("Steps", metrics["steps"], f"best at {metrics['best_step']:.0f}"),
            ("Trained weights", metrics["trained_parameters"], f"{metrics['trained_share']:.1%} of the model"),
        ]
    )
    steps, evaluations = record["steps"], record["evaluations"]
    figure = new_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    left.plot([row["step"] for row in steps], [row["loss"] for row in steps])
    left.set(title="Training loss", xlabel="optimizer step", ylabel="loss")
    for key in (k for k in evaluations[0] if k != "step"):
        right.plot([row["step"] for row in evaluations], [row[key] for row in evaluations], marker="o", label=key)
    right.set(title="Validation", xlabel="optimizer step")
    right.legend()
    page.figure(figure, "Loss of every step, and figures on the validation split; step 0 is the base model.")
    page.heading("Hyperparameters").table([{"name": k, "value": v} for k, v in record["hyperparameters"].items()])
    page.heading("Settings").table([{"name": k, "value": v} for k, v in record["settings"].items()])
    page.write(path)
