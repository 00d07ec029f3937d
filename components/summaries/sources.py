"""Where documents with summaries come from: the project's own texts (documents/*.yaml), or meetings in QMSum's format.

QMSum (Zhong et al., NAACL 2021, MIT): meetings of AMI, ICSI and two parliaments, each with a summary of it all.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from components.tasks.highlights.tables import Document
from serving.contract.errors import SluiceError
from serving.highlights.text import split, words

_MARK = re.compile(r"\{[a-z]+\}")
_SPACE = re.compile(r"\s+([.,?!;:'’%)]|n't)")
_WHOLE = re.compile(r"whole meeting|summari[sz]e (?:this|the|whole)", re.IGNORECASE)
SHORTEST = 4
"""Words; a turn such as "Yeah." can be no bullet, and meetings have thousands of them."""
FOLDER = Path(__file__).parent / "documents"


@cache
def own_documents() -> tuple[Document, ...]:
    """The texts that come with the project: ours, short, with three bullets each; their source is "sample".

    Condition is the file's theme (nature, making, people, past, meetings).
    """
    import yaml

    splits = {
        name: split for split, names in yaml.safe_load((FOLDER / "splits.yaml").read_text()).items() for name in names
    }
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.stem == "splits":
            continue
        for text in yaml.safe_load(path.read_text()):
            theme = path.stem.split("-")[0]
            found.append(Document(text["id"], text["sentences"], text["bullets"], splits[text["id"]], "sample", theme))
    return tuple(found)


def meetings(folder: Path | str, longest: int = 0) -> list[Document]:
    """The meetings of ``folder``/{train,val,test}/*.json, those with a general summary; bullets are its sentences.

    Sentences of fewer than four words are left out, and of a meeting with more than ``longest`` (0: no limit) none
    beyond. Condition is the corpus: product (AMI), academic (ICSI) or committee. Errors: `SluiceError` if the folder
    holds no meeting or a file is not one.
    """
    found = [d for name in ("train", "val", "test") for d in _split(Path(folder) / name, name, longest)]
    if not found:
        raise SluiceError(f"{folder}: no meetings; expected QMSum's JSON files in train/, val/ and test/")
    return found


def _split(folder: Path, name: str, longest: int) -> Iterator[Document]:
    for path in sorted(folder.glob("*.json")):
        try:
            meeting = json.loads(path.read_text())
            summary = _summary(meeting)
            sentences = list(_sentences(meeting))
        except (ValueError, KeyError, TypeError) as error:
            raise SluiceError(f"{path}: not a meeting in QMSum's format ({error})") from error
        if summary and sentences:
            condition = _corpus(path.stem)
            yield Document(f"qmsum-{path.stem}", sentences[: longest or None], summary, name, "qmsum", condition)


def _summary(meeting: dict[str, Any]) -> list[str]:
    queries = meeting["general_query_list"]
    best = next((q for q in queries if _WHOLE.search(q["query"])), queries[0] if queries else None)
    return [s.text for s in split(_clean(best["answer"]))] if best else []


def _sentences(meeting: dict[str, Any]) -> Iterator[str]:
    for turn in meeting["meeting_transcripts"]:
        for sentence in split(_clean(turn["content"])):
            if len(words(sentence.text)) >= SHORTEST:
                yield sentence.text


def _clean(text: str) -> str:
    """Without marks such as {disfmarker}, and without the spaces that tokenising left before punctuation."""
    return " ".join(_SPACE.sub(r"\1", _MARK.sub(" ", text)).replace(" - ", "-").split())


def _corpus(stem: str) -> str:
    if stem.startswith(("ES", "IS", "TS")):
        return "product"
    return "academic" if stem.startswith("B") else "committee"
