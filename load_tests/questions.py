"""The questions users ask: a table or list, with labels or without."""

import json
from pathlib import Path
from typing import Any

import yaml

from serving.contract.errors import SluiceError


def read_questions(source: Path | str) -> list[dict[str, Any]]:
    """Read questions as dicts with question, question_id, persona, gold_paths (may be empty).

    ``source`` is a YAML or JSON list, JSON lines, or parquet; of a questions table (columns split, path, persona) only
    the persona set is taken, where it has one, and ``path`` counts as the gold path; so does the path in ``gold``
    entries like ``path::name``.
    """
    path = Path(source)
    if not path.is_file():
        raise SluiceError(f"no questions file {path}; name a YAML, JSON, JSON lines or parquet file")
    rows = _rows(path)
    if not rows:
        raise SluiceError(f"{path}: no questions in it; expected rows with a 'question'")
    return [as_question(number, row) for number, row in enumerate(rows)]


def _rows(path: Path) -> list[dict[str, Any]]:
    # KFP names its files without a suffix, so the content decides.
    with path.open("rb") as stream:
        if stream.read(4) == b"PAR1":
            import pandas as pd

            table = pd.read_parquet(path)
            if "split" in table and (table["split"] == "persona").any():
                table = table[table["split"] == "persona"]
            return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    text = path.read_text()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SluiceError(f"{path}: no YAML or JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise SluiceError(f"{path}: expected a list of mappings, each with a 'question'")
    return found


def as_question(number: int, row: dict[str, Any]) -> dict[str, Any]:
    """One of `read_questions`' dicts; ``number`` names what has no id. SluiceError where nothing is asked."""
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise SluiceError(f"question {number}: no text under 'question' in {sorted(row)}")
    gold = row.get("gold_paths")
    if gold is None:
        gold = (
            [row["path"]]
            if row.get("path")
            else [str(g).partition("#")[0].partition("::")[0] for g in row.get("gold", ())]
        )
    return {
        "question_id": str(row.get("question_id") or f"q{number}"),
        "question": question,
        "persona": str(row.get("persona") or ""),
        "gold_paths": [str(path) for path in gold],
    }
