import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from answered import cited

from components.common.passages import COLUMNS
from components.ingest.run import ingest
from components.ingest.settings import IngestSettings
from components.make_qa.docs import DocEntry, parse
from components.make_qa.parameters import ask_parameter
from components.make_qa.rules import SymbolPlace, ask, ask_why, names_itself
from components.make_qa.run import make_qa
from components.make_qa.settings import QASettings
from serving.contract.errors import SluiceError
from serving.retrieval.passages import withhold

METHOD = SymbolPlace("method", "the store", "Store.fetch_all")


def passages(folder: Path, rows: list[dict[str, object]]) -> Path:
    """Rows as ingest would write them; each names what matters to the test."""
    base = {"kind": "function", "signature": "", "body": "", "start_line": 1, "end_line": 2, "commit": "", "url": "",
            "n_tokens": 20, "documented": True, "n_changes": 0, "split": "train"}  # fmt: skip
    full = []
    for i, row in enumerate(rows):
        doc = str(row["doc"])
        text = f"{row['path']} {row['name']}\n{doc}\n{row.get('body', '')}"
        own = {"passage_id": f"p{i}", "text": text, "summary": doc.split("\n")[0]}
        full.append({**base, **own, "changed_at": pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=i), **row})
    pd.DataFrame(full)[list(COLUMNS)].to_parquet(folder / "passages.parquet", coerce_timestamps="us")
    return folder / "passages.parquet"


def run(source: Path, **settings: object) -> pd.DataFrame:
    out = source.parent / "questions.parquet"
    make_qa(source, QASettings.model_validate({"feedback": False, **settings}), out)
    return pd.read_parquet(out)


@pytest.mark.parametrize(
    ("sentence", "category", "question"),
    [
        ("Whether the store is on a slow network disk.", "how",
         "How can I tell whether the store is on a slow network disk?"),
        ("This class keeps a ring of open network files.", "what",
         "Which method keeps a ring of open network files in the store?"),
        ("Clone the mask because the cache is changed in place.", "why", "Why would I clone the mask in the store?"),
        ("The mask is inverted to avoid a branch in the kernel.", "why", "Why is the mask inverted in the store?"),
        ("A context manager that silences warnings of the loader.", "what",
         "Which method is a context manager that silences warnings of the loader in the store?"),
        ("Deprecated in favor of the new reader, gone in v6.", "changed",
         "What was deprecated in favour of the new reader in the store?"),
        ("To sort rows by their age, set the flag of the index.", "how", None),
    ],
)  # fmt: skip
def test_a_sentence_becomes_a_question_of_its_category(sentence: str, category: str, question: str | None) -> None:
    asked = ask(sentence, METHOD, first=True)
    assert asked is not None and asked.category == category
    assert question is None or asked.question == question


def test_imperative_and_third_person_ask_how_or_what() -> None:
    asked = [ask(s, METHOD, first=True) for s in ("Compute the checksum of every stored block.",
             "Applies the patch to each of the rows.", "Recursively removes all the empty folders.")]  # fmt: skip
    for one, verb in zip(asked, ("compute", "appl", "remove"), strict=True):
        assert one is not None and one.category in ("how", "what") and verb in one.question
        assert one.question.endswith("?") and one.question[0].isupper()


def test_a_question_never_holds_the_symbols_own_name() -> None:
    assert ask("Fetch everything that fetch_all of the old store gave.", METHOD, first=True) is None
    assert names_itself("What does Trainer do?", "Trainer") and not names_itself("How do I train it?", "Trainer.train")


def test_reasons_are_found_in_comments() -> None:
    asked = ask_why("We clone the tensor here because the cache is mutated in place.", METHOD)
    assert asked is not None and asked.question == "Why do we clone the tensor here in the store?"


def test_a_parameter_is_asked_for_by_what_it_does() -> None:
    made = ask_parameter(DocEntry("strict", "Whether or not to refuse unknown keys. See below."), METHOD)
    assert made is not None and made[1] == "Whether or not to refuse unknown keys."
    assert made[0].category == "parameters" and "whether to refuse unknown keys?" in made[0].question


def test_docstring_styles_give_sentences_parameters_and_returns() -> None:
    google = parse(
        "Sum it. Twice, e.g. here.\n\nArgs:\n    a (`int`, *optional*): The first\n        number.\n\n        More.\n"
        "    b: Another.\n\n```py\nx: int = 1\n```\nReturns:\n    `int`: The sum of both."
    )
    assert google.sentences == ["Sum it.", "Twice, e.g. here."] and google.returned == "The sum of both."
    assert google.entries == [DocEntry("a", "The first number."), DocEntry("b", "Another.")]
    assert parse(":param int a: The first.\n:param b: Another.").entries[0] == DocEntry("a", "The first.")
    numpy = parse("Sum.\n\nParameters\n----------\na : int\n    The first.\n\nReturns\n-------\nint\n")
    assert numpy.sentences == ["Sum."] and numpy.entries == [DocEntry("a", "The first.")]
    continued = parse("    c (`int`): The third.\n    d (`int`): Last.\n```\n")
    assert [e.name for e in continued.entries] == ["c", "d"] or continued.entries == []


def test_copies_share_a_question_and_what_would_leak_or_confuse_goes(tmp_path: Path) -> None:
    same, leak = "Sort all the rows by their age.", "Merge two sorted lists of numbers."
    many = "Convert the old checkpoint into new shards."
    rows = [{"path": "a.py", "name": "x", "doc": same}, {"path": "b.py", "name": "y", "doc": same}]
    rows += [{"path": "c.py", "name": "f", "doc": leak}, {"path": "t.py", "name": "g", "doc": leak, "split": "test"}]
    rows += [{"path": f"m{i}.py", "name": "h", "doc": many} for i in range(6)]
    table = run(passages(tmp_path, rows))
    assert [set(g) for g in table["gold"]] == [{"p0", "p1"}] and table["withheld"].tolist() == [same]
    assert table["asked_at"].iloc[0] == pd.Timestamp("2024-01-10", tz="UTC")


def test_answers_stand_in_their_passage_and_withholding_removes_them(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    (source / "store.py").write_text(
        'def load(path):\n    """Read all of the stored\n    rows into memory.\n\n    Args:\n        path (`str`): The '
        'folder with `*.row` files.\n    """\n    # The file is opened twice because the header is compressed.\n'
        "    return path\n"
    )
    ingest(str(source), "all", IngestSettings(workers=1), tmp_path / "passages.parquet")
    table = run(tmp_path / "passages.parquet")
    texts = pd.read_parquet(tmp_path / "passages.parquet")
    assert set(table["category"]) >= {"parameters", "why"} and len(table) == 3
    whole = " ".join(texts["text"][0].split())
    assert all(answer in whole for answer in table["answer"]) and (table["answer"] == table["withheld"]).all()
    left = withhold(texts, table)["text"][0]
    assert not any(word in left for word in ("memory", "folder", "compressed"))


def test_commits_and_issues_ask_what_changed_and_what_is_known(tmp_path: Path) -> None:
    rows = [
        {"path": "commits/ab", "name": "ab", "kind": "commit",
         "signature": "commit ab touches src/store.py, b.py",
         "doc": "fix(io): Repair the reader of old files (#12)\n\nBody."},
        {"path": "issues/3", "name": "#3 x", "kind": "issue", "signature": "issue #3",
         "doc": "Reader fails on empty folders\n\nTrace."},
    ]  # fmt: skip
    table = run(passages(tmp_path, rows)).set_index("category")
    assert table.question["changed"] == "What changed in store.py to repair the reader of old files?"
    assert "reader fails on empty folders" in table.question["what"]


def test_the_larger_categories_give_way_when_there_are_too_many(tmp_path: Path) -> None:
    nouns = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    rows = [{"path": f"{n}.py", "name": n[0] + "_x", "doc": f"Sort the {n} rows by their {n} age."} for n in nouns]
    rows += [{"path": "w.py", "name": "w_x", "doc": "Clone the whole mask because the cache is changed in place."}]
    table = run(passages(tmp_path, rows), max_questions=4)
    assert len(table) == 4 and (table["category"] == "why").sum() == 1
    assert run(passages(tmp_path, rows), max_questions=4)["question_id"].tolist() == table["question_id"].tolist()


def test_votes_become_training_rows_but_never_teach_a_held_out_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.make_qa.personas import load_personas
    from serving.feedback import FeedbackStore

    url = f"sqlite:///{tmp_path}/feedback.db"
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", url)
    rows = [{"path": "a.py", "name": "A.fetch", "doc": "Fetch the rows of a store."},
            {"path": "b.py", "name": "B", "doc": "A basket that holds rows."},
            {"path": "t.py", "name": "C", "doc": "A cup that holds tea.", "split": "test"}]  # fmt: skip
    source = passages(tmp_path, rows)
    assert (run(source, feedback=True)["origin"] == "rule").all()  # no database yet
    store = FeedbackStore(url, "")
    votes = [("where are rows fetched?", ["p0"], "up", None),
             ("what keeps rows?", ["p0"], "down", "see b.py::B please"),
             ("nothing fits", ["p0"], "down", None), ("who holds tea?", ["p2"], "up", None),
             (load_personas("transformers")[0].question, ["p0"], "up", None)]  # fmt: skip
    for number, (question, ids, vote, correction) in enumerate(votes):
        cited(store, f"r{number}", "rev-1", question, ids)
        store.flush()
        store.feedback(f"r{number}", vote, correction)
    store.close()
    table = run(source, feedback=True, personas="transformers")
    found = table[table["origin"] == "feedback"]
    assert dict(zip(found["question"], map(list, found["gold"]), strict=True)) == {
        "where are rows fetched?": ["p0"], "what keeps rows?": ["p1"]}  # fmt: skip
    assert found["split"].eq("train").all() and found["asked_at"].notna().all()


class Endpoint(BaseHTTPRequestHandler):
    """A generator that writes one good question, one that the check refuses, and one answer it made up."""

    def do_POST(self) -> None:
        prompt = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][0]["content"]
        if self.headers["authorization"] != "Bearer secret":
            return self.reply(401, {})
        if "Proposed answer" in prompt:
            return self.answer("no." if "refuse" in prompt else "Yes.")
        made = {"question": "Where do the stored rows come from?", "answer": "the rows of a store", "category": "what"}
        if "basket" in prompt:
            made |= {"question": "Would you refuse this question?", "answer": "basket that holds"}
        if "cellar" in prompt:
            made["answer"] = "an answer out of thin air"
        self.answer(f"Sure:\n```json\n{json.dumps(made)}\n```")

    def answer(self, text: str) -> None:
        self.reply(200, {"choices": [{"message": {"content": text}}]})

    def reply(self, code: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_generator_writes_questions_and_a_second_prompt_checks_them(
    tmp_path: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"path": "a.py", "name": "A.fetch", "doc": "Fetch the rows of a store."},
            {"path": "b.py", "name": "B", "doc": "A basket that holds rows."},
            {"path": "c.py", "name": "D", "doc": "A cellar that holds wine."},
            {"path": "t.py", "name": "C", "doc": "A cup that holds tea.", "split": "test"}]  # fmt: skip
    source = passages(tmp_path, rows)
    settings = {"generator_questions": 9, "generator_url": endpoint, "generator_model": "m"}
    with pytest.raises(SluiceError, match="answered none of 3 requests"):
        run(source, **settings)
    monkeypatch.setenv("SLUICE_GENERATOR_KEY", "secret")
    table = run(source, **settings)
    written = table[table["origin"] == "llm"]
    assert written["question"].tolist() == ["Where do the stored rows come from?"]
    assert written["gold"].map(list).tolist() == [["p0"]] and written["split"].eq("train").all()
    with pytest.raises(SluiceError, match="no generator"):
        run(source, generator_questions=9)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    pd.DataFrame({"passage_id": ["a"]}).to_parquet(tmp_path / "passages.parquet")
    with pytest.raises(SluiceError, match="no column 'path'"):
        run(tmp_path / "passages.parquet")
    with pytest.raises(SluiceError, match="run ingest first"):
        run(tmp_path / "none.parquet")


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="the persona set asks about transformers")
def test_every_gold_of_the_persona_set_exists_in_the_core_of_the_default_source() -> None:
    from components.ingest.files import select, source_root
    from components.ingest.python_source import read_python
    from components.make_qa.personas import load_personas

    settings, root = IngestSettings(), source_root("")
    core, _ = select(root, "core", True, settings)
    wanted = {entry.split("::")[0] for question in load_personas("transformers") for entry in question.gold}
    assert wanted <= set(core)
    records, _, _ = read_python(str(root), sorted(wanted), settings.undocumented_min_lines)
    docs = {f"{r.path}::{r.name}": r.doc for r in records}
    for question in load_personas("transformers"):
        for entry in question.gold:
            place, _, phrase = entry.partition("#")
            assert place in docs or place in wanted, f"{question.question}: {place} does not exist"
            assert phrase in docs.get(place, phrase), f"{question.question}: {phrase} is not in {place}"
    for persona in ("novice", "experienced", "researcher"):
        assert sum(q.persona == persona for q in load_personas("transformers")) >= 60
    assert len({q.question.lower() for q in load_personas("transformers")}) == len(load_personas("transformers")) >= 300


def test_personas_ask_of_their_own_source_only_and_one_half_of_its_files_is_held_out(tmp_path: Path) -> None:
    from components.make_qa.personas import load_personas, resolve

    gold = sorted({entry.partition("#")[0] for question in load_personas("transformers") for entry in question.gold})
    symbols = [entry.split("::") for entry in gold if "::" in entry]
    phrases = " ".join(entry.partition("#")[2] for question in load_personas("transformers") for entry in question.gold)
    rows = [{"path": path, "name": name, "doc": f"Sort the {at} rows by age. {phrases}"}
            for at, (path, name) in enumerate(symbols)]  # fmt: skip
    few = run(passages(tmp_path, rows[:5] + [{"path": "utils/versions.py", "name": "f", "doc": "Sort all rows."}]),
              personas="transformers")  # fmt: skip
    assert (few["origin"] == "rule").all()  # a stranger's tree shares some file names
    made = run(passages(tmp_path, rows), personas="transformers")
    asked = made[made["origin"] == "persona"]
    assert set(asked["split"]) == {"persona", "calibration"}
    assert asked[asked["path"] != ""].groupby("path")["split"].nunique().max() == 1
    nowhere = asked[asked["gold"].map(len) == 0]
    assert len(nowhere) == sum(not question.gold for question in load_personas("transformers")) >= 30
    assert set(nowhere["split"]) == {"persona", "calibration"} and (nowhere["answer"] == "").all()
    assert not any(resolve(question, {}, []) for question in load_personas("transformers"))


def test_a_parameters_question_is_answered_by_the_line_about_it(tmp_path: Path) -> None:
    from components.make_qa.personas import load_personas

    symbols = [e.split("#")[0].split("::") for q in load_personas("transformers") for e in q.gold if "::" in e]
    doc = "Sorts what is set by age.\n\nArgs:\n    save_total_limit (`int`): Checkpoints to keep. More.\n"
    rows = [{"path": path, "name": name, "doc": doc + path + name}
            for path, name in sorted({(path, name) for path, name in symbols})]  # fmt: skip
    made = run(passages(tmp_path, rows), personas="transformers", max_gold=999).set_index("question")
    asked = "My disk fills up with checkpoints, which setting limits how many are kept?"
    assert made.answer[asked] == "save_total_limit (`int`): Checkpoints to keep."
    assert made.answer["How do I hide the progress bars?"] == "Sorts what is set by age."


def test_the_component_counts_what_it_made(tmp_path: Path) -> None:
    from kfp.dsl import Dataset, Metrics

    from components.make_qa.component import make_qa as component

    source = passages(tmp_path, [{"path": "a.py", "name": "A.fetch", "doc": "Fetch the rows of a store."}])
    questions, summary = Dataset(uri=str(tmp_path / "q.parquet")), Metrics(uri=str(tmp_path / "m"))
    component.python_func(
        passages=Dataset(uri=str(source)),
        settings={"per_passage": 2.0, "feedback": False},
        questions=questions,
        summary=summary,
    )
    assert summary.metadata["questions"] == len(pd.read_parquet(questions.path)) == 1
