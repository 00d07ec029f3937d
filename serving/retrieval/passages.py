"""The passages as tables: the columns that retrieval reads, and the protocol that keeps tests honest."""

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from serving.contract.errors import SluiceError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "passage_id", "path", "name", "kind", "doc", "text", "summary", "start_line", "end_line", "url", "n_tokens",
)  # fmt: skip
"""What the index keeps of passages.parquet."""

CODE = ("signature", "commit")
"""Kept too where passages are of a source tree: how a symbol begins, and the commit that its file is of."""

TIMES = ("start_s", "end_s")
"""Kept too where passages are spans of a recording: seconds from its beginning, float64."""

FEATURE_SOURCES = ("passage_id", "kind", "n_tokens", "documented", "n_changes", "changed_at")


def require_columns(table: "pd.DataFrame", columns: tuple[str, ...], name: str, maker: str) -> None:
    """Raise `SluiceError` unless ``table`` has all ``columns``; ``maker`` is the step that writes the file ``name``."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        have = ", ".join(map(str, table.columns))
        raise SluiceError(f"{name}: no column {', '.join(map(repr, missing))}, only {have} (see components/{maker})")


def withhold(passages: "pd.DataFrame", questions: "pd.DataFrame") -> "pd.DataFrame":
    """Cut out of every passage's text the sentences that its own questions were made from (protocol "withheld").

    A rule-made question repeats a sentence of its passage; searching the full text would be trivial. In: passages with
    ``passage_id`` and ``text``; questions with ``gold`` (list of passage ids) and ``withheld`` ("" = nothing).
    Out: the same rows with ``text`` changed; the input stays as it was. Line breaks and punctuation between the
    sentence's words may differ between question and passage.
    """
    require_columns(passages, ("passage_id", "text"), "passages.parquet", "ingest")
    require_columns(questions, ("gold", "withheld"), "questions.parquet", "make_qa")
    sentences: dict[str, set[str]] = defaultdict(set)
    for gold, sentence in zip(questions["gold"], questions["withheld"], strict=True):
        if sentence:
            for passage_id in gold:
                sentences[passage_id].add(sentence)
    texts = [
        _cut(text, sentences[passage_id]) if passage_id in sentences else text
        for passage_id, text in zip(passages["passage_id"], passages["text"], strict=True)
    ]
    return passages.assign(text=texts)


def with_new_passages(snapshot: "pd.DataFrame", passages: "pd.DataFrame") -> "pd.DataFrame":
    """The feature snapshot (passage_id, kind, n_tokens, …), with rows for passages it does not know.

    Their features come from the passages themselves, as featurize would compute them; nobody has voted on them yet.
    """
    import pandas as pd

    require_columns(passages, FEATURE_SOURCES, "passages.parquet", "ingest")
    new = passages[~passages["passage_id"].isin(snapshot["passage_id"])]
    if new.empty:
        return snapshot
    rows = pd.DataFrame({"passage_id": new["passage_id"], "kind": new["kind"], "n_tokens": new["n_tokens"]})
    rows["documented"] = new["documented"].astype("int64")
    rows["n_changes"] = new["n_changes"]
    rows["changed_day"] = (new["changed_at"] - pd.Timestamp(0, tz="UTC")).dt.days
    rows["shown"] = rows["up"] = rows["down"] = 0
    return pd.concat([snapshot, rows], ignore_index=True)


def _cut(text: str, sentences: set[str]) -> str:
    for sentence in sorted(sentences, key=lambda s: (-len(s), s)):  # longest first: one may contain another
        words = re.findall(r"\w+", sentence)
        if words:
            text = re.sub(r"\b" + r"\W+".join(map(re.escape, words)) + r"\b[.!?:;]?", " ", text)
    return text
