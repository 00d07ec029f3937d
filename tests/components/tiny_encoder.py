"""A random encoder of two layers and a corpus small enough to learn in seconds, for the tests of this folder."""

import json
import random
from pathlib import Path

import pandas as pd
import torch

from components.base.fetch import fetch_base, minilm_directory

VERBS = """load save split merge pad truncate encode decode shuffle sort filter batch cache stream resize crop normalise
rotate mask sample rank score prune freeze copy export import parse render compile trace schedule resume retry"""
NOUNS = "tokenizer image tensor dataset model config checkpoint optimizer scheduler audio video text layer head queue"
WORDS, THINGS = VERBS.split(), NOUNS.split()


def make_source(directory: Path, kind: str = "bert", pooling: str | None = None) -> Path:
    """A Hugging Face directory with random weights: kind "bert" or "xlm-roberta", MiniLM's tokenizer."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind,
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
        pad_token_id=0 if kind == "bert" else 1,
    )
    model = AutoModel.from_config(config)
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(str(minilm_directory())).save_pretrained(directory)
    if pooling:
        (directory / "1_Pooling").mkdir()
        modes = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
        modes["pooling_mode_max_tokens"] = pooling == "max"
        (directory / "1_Pooling/config.json").write_text(json.dumps(modes))
    return directory


def make_base(directory: Path) -> Path:
    """A model directory of the tiny random BERT."""
    fetch_base(str(make_source(directory / "source")), directory / "base")
    return directory / "base"


def make_tables(directory: Path, files: int = 30) -> tuple[Path, Path]:
    """passages.parquet and questions.parquet: 3 passages a file, one question each but the third; split by file."""
    rng = random.Random(5)
    passages, questions = [], []
    for file in range(files):
        split = "val" if file % 5 == 0 else "test" if file % 5 == 1 else "train"
        for part in range(3):
            verb, thing, other = rng.choice(WORDS), rng.choice(THINGS), rng.sample(WORDS, 2)
            said = f"{verb.capitalize()} the {thing} with {other[0]} number {file}."
            body = f"def {verb}_{thing}(value): return {other[1]}(value, {other[0]}, {verb}, {thing})"
            identity = f"{file:08d}{part:08d}"
            text = f"{verb}_{thing} {said} {body}"
            passages.append({"passage_id": identity, "path": f"m{file}.py", "text": text, "split": split})
            if part < 2:
                row = {"question_id": f"q{identity}", "question": f"How do I {verb} a {thing}?", "gold": [identity]}
                questions.append({**row, "withheld": said, "split": split})
    directory.mkdir(parents=True, exist_ok=True)
    paths = directory / "passages.parquet", directory / "questions.parquet"
    for path, rows in zip(paths, (passages, questions), strict=True):
        pd.DataFrame(rows).to_parquet(path)
    return paths
