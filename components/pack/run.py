"""Build the bundle: index, sentences, ranker and confidence around the quantised encoder."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.pack.examples import collect, first_half
from components.pack.fit import fit_rules
from components.pack.progress import progress
from components.pack.settings import PackSettings
from serving.bundle import Bundle, Lineage
from serving.errors import SluiceError
from serving.files import atomic_dir, digest
from serving.onnx_encoder import OnnxEncoder
from serving.retrieval.answer import Answers, passage_sentences
from serving.retrieval.bm25 import Bm25
from serving.retrieval.index import Index, encode_all
from serving.retrieval.known import KnownVectors
from serving.retrieval.passages import COLUMNS, require_columns, withhold
from serving.retrieval.ranker import Candidates
from serving.retrieval.ranking import gold_rows, served_ranks
from serving.retrieval.schema import INPUTS, OUTPUTS

if TYPE_CHECKING:
    from serving.retrieval.calibration import Calibration
    from serving.retrieval.ranker import Ranker

QUESTIONS = ("question_id", "question", "gold", "withheld", "split", "origin", "asked_at")
FRAME = (
    "event_timestamp",
    "passage_id",
    "kind",
    "n_tokens",
    "documented",
    "changed_day",
    "n_changes",
    "shown",
    "up",
    "down",
)


def pack(
    variants: Path, passages: Path, questions: Path, frame: Path, snapshot: Path, settings: PackSettings, bundle: Path
) -> dict[str, float]:
    """Write the bundle directory, whole or not at all; return its metrics, named with their protocol.

    In: quantize's ``variants`` directory; passages, questions, frame (features as of each question's day) and snapshot
    (features now) as parquet. The served index holds full texts. Ranker and confidence are fitted on the questions of
    split ``val`` against texts without the withheld sentences, one half of the questions each; the returned
    figures are of the half that the ranker never saw. Errors: `SluiceError` for a missing file or column.
    """
    description = _read_variants(variants)
    texts, asked = _read(passages, COLUMNS, "ingest"), _read(questions, QUESTIONS, "make_qa")
    history, now = _read(frame, FRAME, "featurize"), _read(snapshot, FRAME[1:], "featurize")
    val = asked[(asked["split"] == "val") & (asked["origin"] != "persona")].reset_index(drop=True)
    if texts.empty or val.empty:
        raise SluiceError(f"{passages}, {questions}: no passages, or no questions of split val; read a larger source")
    file = description["variants"][description["variant"]]["file"]
    encoder = OnnxEncoder(variants, file, 1, description["encoder"]["max_tokens"])
    with atomic_dir(bundle) as out:
        shutil.copytree(variants / "encoder", out / "encoder")
        shutil.copyfile(variants / "tokenizer.json", out / "tokenizer.json")
        index = _write_index(encoder, texts, out / "index", settings)
        now.to_parquet(out / "index" / "snapshot.parquet")
        withheld = _withheld_index(encoder, index, texts, asked, out / "index", settings)
        ranker, calibration, metrics = _fit(encoder, withheld, val, history, settings)
        rules = {"ranker": ranker.to_json(), "calibration": calibration.to_json()}
        (out / "ranker.json").write_text(json.dumps(rules, indent=1))
        described = {**description, "inputs": INPUTS, "outputs": OUTPUTS, "metrics": metrics}
        lineage = _lineage(passages, questions, settings)
        Bundle(system=settings.system, task="retrieval", lineage=lineage, **described).write(out)
    return metrics


def _write_index(encoder: OnnxEncoder, texts: pd.DataFrame, out: Path, settings: PackSettings) -> Index:
    """The served index over full texts, and the sentences that answers quote."""
    workers = settings.workers or None
    index = Index.build(texts, encode_all(encoder, texts["text"].tolist(), None, workers, progress("passages")))
    index.save(out)
    sentences, starts = passage_sentences(index.columns, settings.sentences)
    vectors = encode_all(encoder, sentences, None, workers, progress("sentences"))
    Answers(sentences, starts, vectors).save(out)
    return index


def _withheld_index(
    encoder: OnnxEncoder, index: Index, texts: pd.DataFrame, asked: pd.DataFrame, out: Path, settings: PackSettings
) -> Index:
    """The same passages without the sentences that questions were made from; only changed texts are encoded."""
    cut = withhold(texts, asked)
    known = KnownVectors(None).lookup(index.columns["text"], index.vectors)
    vectors = encode_all(encoder, cut["text"].tolist(), known, settings.workers or None, progress("withheld texts"))
    changed = (cut["text"] != texts["text"]).to_numpy()
    KnownVectors.save(out, cut["text"][changed].tolist(), vectors[changed])
    return Index({**index.columns, "text": cut["text"].tolist()}, vectors, Bm25.build(cut["text"].tolist()))


def _fit(
    encoder: OnnxEncoder, index: Index, val: pd.DataFrame, history: pd.DataFrame, settings: PackSettings
) -> "tuple[Ranker, Calibration, dict[str, float]]":
    """Ranker and calibration from the validation questions, with the figures of the half that tests them."""
    queries = encode_all(encoder, val["question"].tolist(), None, settings.workers or None, progress("val questions"))
    examples = collect(index, val, queries, history)
    half = first_half(val["question_id"].tolist())
    ranker, calibration, scores = fit_rules(examples, half, settings.l2, settings.wrong_answer_costs)
    tested = np.flatnonzero(~half)
    gold = gold_rows(index.ids, [list(ids) for ids in val["gold"]])
    found = Candidates(*(table[tested] for table in examples.found))
    ranks = served_ranks(found, scores[tested], index.dense(queries[tested]), [gold[at] for at in tested])
    metrics = {f"recall@{k}_val_withheld": float((ranks <= k).mean()) for k in (1, 5, 10) if len(ranks)}
    if len(ranks):
        metrics["mrr_val_withheld"] = float((1 / ranks).mean())
    return ranker, calibration, {**metrics, "questions_val": float(len(ranks)), "passages": float(len(index))}


def _lineage(passages: Path, questions: Path, settings: PackSettings) -> Lineage:
    data = hashlib.sha256((digest(passages) + digest(questions)).encode()).hexdigest()[:16]
    return Lineage(data=data, code=os.environ.get("SLUICE_CODE_DIGEST", ""), mlflow_run=settings.mlflow_run or None)


def _read_variants(variants: Path) -> dict[str, Any]:
    """What quantize wrote about its variants; the fields that the bundle takes over."""
    path = variants / "variants.json"
    try:
        data = json.loads(path.read_text())
        return {name: data[name] for name in ("encoder", "base_model", "adapter", "variants", "variant")}
    except (OSError, ValueError, KeyError) as error:
        raise SluiceError(f"{path}: cannot be read ({error}); run the step quantize again") from error


def _read(path: Path, columns: tuple[str, ...], maker: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SluiceError(f"{path}: cannot be read ({error}); run the step {maker} again") from error
    require_columns(table, columns, path.name, maker)
    return table
