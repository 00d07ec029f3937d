"""The data gate of task highlights: sentences of documents, and the bullets that people wrote about them."""

from typing import TYPE_CHECKING

from pydantic import Field

from components.validate.gate import Checked, Count, ValidateSettings, judge, quarantine
from components.validate.report import categories, histograms
from components.validate.suites import SPLITS, UNDAMAGED, Examiner, Rule, among, between, damage, normal

if TYPE_CHECKING:
    import pandas as pd

    from components.common.page import Page

CORPUS = ("document_id", "position", "text", "start", "end")
EXAMPLES = ("document_id", "bullets", "split", "source", "condition")
MAKERS = ("summaries", "summaries")


class Settings(ValidateSettings):
    """Section ``validate`` of documents and their summaries.

    ``min_sentences`` of a document, ``max_length`` of its bullets (share of the document's words), and the least number
    of documents.
    """

    min_sentences: int = Field(3, ge=1)
    max_length: float = Field(0.9, gt=0)
    min_documents: int = Field(3, ge=1)


def check(sentences: "pd.DataFrame", summaries: "pd.DataFrame", settings: Settings) -> Checked:
    """Judge sentences, then summaries against the sentences that stayed."""
    import pandas as pd

    examiner = Examiner()
    outcomes = {"sentences": examiner.examine("sentences", sentence_columns(sentences), sentence_rules(settings))}
    names = [f"{d}:{p}" for d, p in zip(sentences["document_id"], sentences["position"], strict=True)]
    bad = [quarantine("sentences", names, sentences["text"].tolist(), outcomes["sentences"])]
    said = sentences.drop(index=sentences.index[bad[0]["row_number"]]).reset_index(drop=True)
    columns = summary_columns(summaries, said)
    outcomes["summaries"] = examiner.examine("summaries", columns, summary_rules(settings))
    bullets = [" | ".join(map(str, b)) for b in summaries["bullets"]]
    bad.append(quarantine("summaries", summaries["document_id"].tolist(), bullets, outcomes["summaries"]))
    told = summaries.drop(index=summaries.index[bad[1]["row_number"]]).reset_index(drop=True)
    counts = {
        "sentences": Count(len(sentences), len(said), 1),
        "summaries": Count(len(summaries), len(told), settings.min_documents),
    }
    verdict = judge(counts, {}, settings)
    return Checked(said, told, pd.concat(bad, ignore_index=True), outcomes, verdict)


def sentence_columns(sentences: "pd.DataFrame") -> "pd.DataFrame":
    """One row a sentence: row_id, repeats of its place, words, damage, seconds (NaN where there is no sound)."""
    import pandas as pd

    text = sentences["text"].fillna("").astype(str)
    return pd.DataFrame(
        {
            "row_id": sentences["document_id"].astype(str),
            "place_repeats": sentences.groupby(["document_id", "position"], dropna=False).cumcount(),
            "words": text.map(lambda t: len(normal(t).split())),
            "damage": text.map(damage),
            "seconds": (sentences["end"] - sentences["start"]).fillna(0.0),
        }
    )


def sentence_rules(settings: Settings) -> list[Rule]:
    """The suite ``sentences``, on the columns of `sentence_columns`."""
    return [
        between("place", "place_repeats", "every place once", "place already taken by an earlier row", None, 0),
        between("emptiness", "words", "at least one word", "no word in it", 1, None),
        UNDAMAGED,
        between("times", "seconds", "ends after it begins", "ends before it begins", 0, None),
    ]


def summary_columns(summaries: "pd.DataFrame", sentences: "pd.DataFrame") -> "pd.DataFrame":
    """One row a summary: row_id, bullets, empty ones, its document's sentences, length relative to it, splits."""
    import pandas as pd

    words = sentences["text"].map(lambda t: len(str(t).split())).groupby(sentences["document_id"]).sum()
    size, ids = sentences["document_id"].value_counts(), summaries["document_id"]
    written = summaries["bullets"].map(lambda bullets: [len(normal(str(b)).split()) for b in bullets])
    return pd.DataFrame(
        {
            "row_id": ids.astype(str),
            "bullets": written.map(len),
            "empty": written.map(lambda counts: counts.count(0)),
            "sentences": ids.map(size).fillna(0).astype("int64"),
            "length": written.map(sum) / ids.map(words).fillna(1).clip(lower=1),
            "splits": summaries.groupby("document_id")["split"].transform("nunique"),
            "split": summaries["split"].fillna(""),
        }
    )


def summary_rules(settings: Settings) -> list[Rule]:
    """The suite ``summaries``, on the columns of `summary_columns`."""
    least, most = settings.min_sentences, settings.max_length
    return [
        between("document", "sentences", f"at least {least} sentences", "its document is too short", least, None),
        between("bullets", "bullets", "at least one bullet", "no bullet", 1, None),
        between("emptiness", "empty", "no empty bullet", "an empty bullet", None, 0),
        between("length", "length", f"at most {most:.0%} of its document", "as long as its document", None, most),
        between("leak", "splits", "a document in one split only", "its document is in more than one split", 1, 1),
        among("split", "split", "a known split", "unknown split", SPLITS),
    ]  # fmt: skip


def picture(page: "Page", checked: Checked) -> None:
    """Lengths of documents and bullets, sources and splits."""
    sizes = checked.corpus["document_id"].value_counts().tolist()
    bullets = [len(str(b).split()) for many in checked.examples["bullets"] for b in many]
    page.figure(
        histograms([("sentences", "documents", sizes), ("words", "bullets", bullets)]),
        "How long documents and their bullets are",
    )
    page.figure(categories(checked.examples, "source", "summaries"), "Summaries by source and split")
