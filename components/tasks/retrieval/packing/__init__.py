"""Pack a retriever: index, sentences, ranker and confidence around the quantised encoder."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import Field

from components.common.progress import progress
from components.pack.packing import Given, Packed, PackSettings
from components.tasks.retrieval.packing.examples import collect, first_half
from components.tasks.retrieval.packing.fit import fit_rules
from serving.contract.errors import SluiceError
from serving.core.onnx_encoder import OnnxEncoder
from serving.retrieval.answer import Answers, passage_sentences
from serving.retrieval.bm25 import Bm25
from serving.retrieval.index import Index, encode_all
from serving.retrieval.known import KnownVectors
from serving.retrieval.passages import COLUMNS, require_columns, with_new_passages, withhold
from serving.retrieval.ranker import Candidates
from serving.retrieval.ranking import gold_rows, served_ranks
from serving.retrieval.schema import INPUTS, OUTPUTS

if TYPE_CHECKING:
    from serving.retrieval.calibration import Calibration
    from serving.retrieval.ranker import Ranker

QUESTIONS = ("question_id", "question", "gold", "withheld", "split", "asked_at")
COUNTS = ("passage_id", "kind", "n_tokens", "documented", "changed_day", "n_changes", "shown", "up", "down")
FRAME = ("event_timestamp", *COUNTS)


class Settings(PackSettings):
    """Section ``pack`` of a retriever.

    ``sentences``: most sentences of one passage that an answer may quote (each costs a vector). ``wrong_answer_costs``:
    what a wrong answer costs where a right one earns 1 and abstaining 0; it sets the abstain threshold. ``workers``:
    threads that encode (0: one a core).
    """

    sentences: int = Field(default=4, ge=0, le=32)
    wrong_answer_costs: float = Field(default=0.25, ge=0)
    workers: int = Field(default=0, ge=0)


def pack(given: Given, settings: Settings, out: Path) -> Packed:
    """Write index/ and ranker.json into the bundle ``out``, around the encoder that is there.

    In: passages, questions, frame (features as of each question's day) and snapshot (features now) as parquet. Without
    a feature step, both follow from the passages alone. The served index holds full texts. Ranker and confidence are
    fitted on the questions of split ``val`` against texts without the withheld sentences, one half of the questions
    each; the returned figures are of the half that the ranker never saw. Questions in users' own words (split
    ``calibration``) decide on confidence, against the index as it is served. Errors: `SluiceError` for a missing file
    or column.
    """
    texts, asked = _read(given.corpus, COLUMNS, "ingest"), _read(given.examples, QUESTIONS, "make_qa")
    history, now = _features(given, texts, asked)
    if texts.empty or not (asked["split"] == "val").any():
        where = f"{given.corpus}, {given.examples}"
        raise SluiceError(f"{where}: no passages, or no questions of split val; read a larger source")
    file = given.description["variants"][given.description["variant"]]["file"]
    encoder = OnnxEncoder(given.variants, file, 1, given.description["encoder"]["max_tokens"])
    index = _write_index(encoder, texts, out / "index", settings)
    now.to_parquet(out / "index" / "snapshot.parquet")
    withheld = _withheld_index(encoder, index, texts, asked, out / "index", settings)
    ranker, calibration, metrics = _fit(encoder, withheld, index, asked, history, settings)
    rules = {"ranker": ranker.to_json(), "calibration": calibration.to_json()}
    (out / "ranker.json").write_text(json.dumps(rules, indent=1))
    return Packed(INPUTS, OUTPUTS, metrics)


def _features(given: Given, texts: pd.DataFrame, asked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features as of each day of asking, and now."""
    if given.frame and given.snapshot:
        return _read(given.frame, FRAME, "featurize"), _read(given.snapshot, COUNTS, "featurize")
    empty = {name: pd.Series(dtype="object" if name in ("passage_id", "kind") else "int64") for name in COUNTS}
    now = with_new_passages(pd.DataFrame(empty), texts)
    return now.assign(event_timestamp=asked["asked_at"].max()), now


def _write_index(encoder: OnnxEncoder, texts: pd.DataFrame, out: Path, settings: Settings) -> Index:
    """The served index over full texts, and the sentences that answers quote."""
    index = Index.build(texts, _vectors(encoder, texts["text"].tolist(), settings, "passages"))
    index.save(out)
    sentences, starts = passage_sentences(index.columns, settings.sentences)
    Answers(sentences, starts, _vectors(encoder, sentences, settings, "sentences")).save(out)
    return index


def _vectors(
    encoder: OnnxEncoder,
    texts: Sequence[str],
    settings: Settings,
    what: str,
    known: Callable[[str], np.ndarray | None] | None = None,
) -> np.ndarray:
    with progress(f"encoding {what}") as tick:
        return encode_all(encoder, texts, known, settings.workers or None, tick)


def _withheld_index(
    encoder: OnnxEncoder, index: Index, texts: pd.DataFrame, asked: pd.DataFrame, out: Path, settings: Settings
) -> Index:
    """The same passages without the sentences that questions were made from; only changed texts are encoded."""
    cut = withhold(texts, asked)
    known = KnownVectors(None).lookup(index.columns["text"], index.vectors)
    vectors = _vectors(encoder, cut["text"].tolist(), settings, "withheld texts", known)
    changed = (cut["text"] != texts["text"]).to_numpy()
    KnownVectors.save(out, cut["text"][changed].tolist(), vectors[changed])
    return Index({**index.columns, "text": cut["text"].tolist()}, vectors, Bm25.build(cut["text"].tolist()))


def _fit(
    encoder: OnnxEncoder,
    withheld: Index,
    served: Index,
    asked: pd.DataFrame,
    history: pd.DataFrame,
    settings: Settings,
) -> "tuple[Ranker, Calibration, dict[str, float]]":
    """Ranker and calibration, with the ranker's figures on the half of the validation questions that tests it."""
    val, words = (asked[asked["split"] == split].reset_index(drop=True) for split in ("val", "calibration"))
    texts = [*val["question"], *words["question"]]
    vectors = _vectors(encoder, texts, settings, "val questions")
    queries = vectors[: len(val)]
    examples = collect(withheld, val, queries, history)
    users = collect(served, words, vectors[len(val) :], history) if len(words) else None
    half = first_half(val["question_id"].tolist())
    ranker, calibration, scores = fit_rules(examples, half, users, settings.wrong_answer_costs)
    tested = np.flatnonzero(~half)
    gold = gold_rows(withheld.ids, [list(ids) for ids in val["gold"]])
    found = Candidates(*(table[tested] for table in examples.found))
    ranks = served_ranks(found, scores[tested], withheld.dense(queries[tested]), [gold[at] for at in tested])
    metrics = {f"recall@{k}_val_withheld": float((ranks <= k).mean()) for k in (1, 5, 10) if len(ranks)}
    if len(ranks):
        metrics["mrr_val_withheld"] = float((1 / ranks).mean())
    counts = {"questions_val": len(ranks), "questions_calibration": len(words), "passages": len(withheld)}
    return ranker, calibration, {**metrics, **{name: float(count) for name, count in counts.items()}}


def _read(path: Path, columns: tuple[str, ...], maker: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SluiceError(f"{path}: cannot be read ({error}); run the step {maker} again") from error
    require_columns(table, columns, path.name, maker)
    return table
