from pathlib import Path

import pandas as pd
import pytest

from components.tasks.retrieval.data import Settings, check
from components.tasks.retrieval.suites import english, letters
from components.validate.run import Outputs, validate
from components.validate.suites import damage
from serving.contract.errors import SluiceError
from serving.contract.verdict import read_verdicts

CATEGORIES = ("what", "how", "why", "parameters")
LINES = ("a shelf of books", "rows of a store", "the open window", "his old garden", "ten red apples", "a bowl of soup")


def tables(count: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clean passages, and one clean question about each."""
    texts = [f"def f{i}(x)\nKeeps {LINES[i % 6]} number {i} in order." for i in range(count)]
    passages = pd.DataFrame(
        {"passage_id": [f"p{i}" for i in range(count)], "path": [f"m{i}.py" for i in range(count)], "kind": "function",
         "text": texts, "n_tokens": 20, "split": ["train"] * (count - 4) + ["val", "val", "test", "test"]}
    )  # fmt: skip
    questions = pd.DataFrame(
        {"question_id": [f"q{i}" for i in range(count)], "origin": "rule", "gold": [[f"p{i}"] for i in range(count)],
         "question": [f"Which function keeps {LINES[i % 6]} number {i}?" for i in range(count)],
         "answer": [f"Keeps {LINES[i % 6]} number {i} in order." for i in range(count)],
         "category": [CATEGORIES[i % 4] for i in range(count)], "split": passages["split"]}
    )  # fmt: skip
    return passages, questions


def outputs(folder: Path) -> Outputs:
    return Outputs(*(folder / name for name in ("p.parquet", "q.parquet", "bad.parquet", "v.json", "r.html")))


def test_every_kind_of_bad_row_is_quarantined_with_its_reason() -> None:
    passages, questions = tables()
    passages.loc[0, "text"] = "  \n "
    passages.loc[1, "n_tokens"] = 300
    passages.loc[2, "text"] = passages.loc[3, "text"]
    passages.loc[4, "text"] = "Эта функция хранит строки в порядке номер 4 x"
    passages.loc[5, "text"] = "Keeps the \ufffd\ufffd of a broken file in order."
    passages.loc[6, "text"] = "Keeps the cafÃ© and the naÃ¯ve rÃ©sumÃ© in order."
    passages.loc[7, "passage_id"] = "p8"
    questions.loc[10, "question"] = "Why so?"
    questions.loc[11, "question"] = questions.loc[12, "question"].upper()
    questions.loc[13, "answer"] = "Not what the passage says."
    questions.loc[14, "category"] = "gossip"
    questions.loc[15, "question"] = "Quelle fonction garde onze pommes rouges?"
    questions.loc[39, "question"] = questions.loc[16, "question"]
    questions.at[17, "gold"] = ["p17", "gone"]
    found = check(passages, questions, Settings(max_quarantined=1))
    bad = found.quarantined.groupby("row_id")["reasons"].agg(lambda r: " | ".join(x for each in r for x in each))
    expected = {
        "p0": "emptiness", "p1": "length", "p3": "duplicates", "p4": "language", "p5": "encoding", "p6": "encoding",
        "p8": "id", "q0": "gold", "q10": "length", "q12": "duplicates", "q13": "answer", "q14": "category",
        "q15": "english", "q16": "leak", "q39": "leak",
    }  # fmt: skip
    assert {row for row in expected if expected[row] not in bad.get(row, "")} == set()
    assert "p2" not in bad and not set(bad.index) & {"p9", "q9", "q11", "q17"}
    assert found.examples.set_index("question_id").gold["q17"] == ["p17"]
    assert len(found.corpus) + (found.quarantined["table"] == "passages").sum() == len(passages)


def test_clean_data_passes_and_leaves_tables_verdict_and_a_self_contained_report(tmp_path: Path) -> None:
    passages, questions = tables()
    passages.to_parquet(tmp_path / "passages.parquet")
    questions.to_parquet(tmp_path / "questions.parquet")
    out = outputs(tmp_path / "out")
    verdict = validate(tmp_path / "passages.parquet", tmp_path / "questions.parquet", {"task": "retrieval"}, out)
    assert verdict.passed and verdict.gate == "data" and read_verdicts(out.verdict) == [verdict]
    assert verdict.figures["passages"] == 40 and verdict.figures["questions_quarantined"] == 0
    assert len(pd.read_parquet(out.corpus)) == len(pd.read_parquet(out.examples)) == 40
    assert pd.read_parquet(out.quarantine).empty
    page = Path(out.report).read_text()
    assert page.count("<svg") >= 3 and "every text once" in page and 'src="http' not in page


def test_under_the_floor_the_outputs_are_written_and_then_the_run_fails(tmp_path: Path) -> None:
    passages, questions = tables()
    questions.loc[:9, "answer"] = "Something else."
    questions["category"] = "what"
    passages.to_parquet(tmp_path / "passages.parquet")
    questions.to_parquet(tmp_path / "questions.parquet")
    out = outputs(tmp_path / "out")
    with pytest.raises(
        SluiceError, match="25.0% of questions quarantined, at most 5.0%.*above 70%.*too few categories"
    ):
        validate(tmp_path / "passages.parquet", tmp_path / "questions.parquet", {"task": "retrieval"}, out)
    assert all(Path(path).is_file() for path in out) and not read_verdicts(out.verdict)[0].passed
    assert len(pd.read_parquet(out.quarantine)) == 10


def test_a_missing_table_or_column_is_named(tmp_path: Path) -> None:
    passages, _ = tables()
    passages.drop(columns="kind").to_parquet(tmp_path / "p.parquet")
    with pytest.raises(SluiceError, match="no column 'kind'"):
        validate(tmp_path / "p.parquet", tmp_path / "q.parquet", {"task": "retrieval"}, outputs(tmp_path))
    with pytest.raises(SluiceError, match="run ingest first"):
        validate(tmp_path / "none.parquet", tmp_path / "q.parquet", {"task": "retrieval"}, outputs(tmp_path))


def test_language_and_damage_are_told_from_code_and_accents() -> None:
    assert letters("def f(x): return x") == 1 and letters("123 +") == 0 and letters("строки x") < 0.2
    assert english("How do I sort?") and not english("Comment trier mes lignes?")
    assert damage("naïve café “quoted” — fine") == 0 and damage("schÃ¶n und grÃ¶ÃŸer") >= 3 and damage("a\ufffd") >= 100


def test_the_component_takes_settings_as_kubeflow_hands_them_over(tmp_path: Path) -> None:
    from kfp.dsl import HTML, Artifact, Dataset

    from components.validate.component import validate as component

    passages, questions = tables()
    passages.to_parquet(tmp_path / "passages.parquet")
    questions.to_parquet(tmp_path / "questions.parquet")
    made = {n: Dataset(uri=str(tmp_path / n)) for n in ("clean_corpus", "clean_examples", "quarantine")}
    component.python_func(
        corpus=Dataset(uri=str(tmp_path / "passages.parquet")),
        examples=Dataset(uri=str(tmp_path / "questions.parquet")),
        settings={"task": "retrieval", "max_tokens": 256.0, "question_words": [4.0, 60.0]},
        verdict=Artifact(uri=str(tmp_path / "v.json")),
        report=HTML(uri=str(tmp_path / "r.html")),
        **made,
    )
    assert all(Path(d.path).is_file() for d in made.values()) and read_verdicts(tmp_path / "v.json")[0].passed
