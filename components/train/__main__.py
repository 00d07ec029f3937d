"""``python -m components.train``: a training run without Kubeflow, alone or under torchrun on any number of nodes."""

import argparse
import json
import sys
from pathlib import Path

from components.train.run import train
from serving.contract.errors import SluiceError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, train, print the metrics as JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.train", description=__doc__)
    for name, what in {
        "corpus": "parquet file: passages, recordings or sentences",
        "examples": "parquet file: questions, transcripts or summaries",
        "base": "model directory",
        "adapter": "directory to write",
        "history": "HTML page to write",
    }.items():
        parser.add_argument(f"--{name}", required=True, type=Path, help=what)
    parser.add_argument("--hyperparameters", type=Path, help="JSON file (see components/train/settings.py)")
    parser.add_argument("--settings", type=Path, help="JSON file (see components/train/settings.py)")
    told = parser.parse_args(arguments)
    hyper, settings = (json.loads(f.read_text()) if f else {} for f in (told.hyperparameters, told.settings))
    try:
        metrics = train(told.corpus, told.examples, told.base, hyper, settings, told.adapter, told.history)
    except SluiceError as error:
        print(error, file=sys.stderr)
        return 1
    if metrics:
        print(json.dumps(metrics, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
