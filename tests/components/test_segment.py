from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kfp.dsl import HTML, Dataset

from components.common.recordings import write_quarantine, write_stage
from components.make_qa.component import lecture_questions
from components.segment.component import segment as component
from components.segment.passages import every_split, paragraph, silent
from components.segment.sentences import sentences
from components.segment.topics import boundaries
from components.segment.words import words_of
from components.tasks.retrieval.data import Settings, check
from serving.contract.errors import SluiceError

TIDES = ("twice a day the sea comes up the beach", "the moon pulls on the sea", "the sea follows the moon every day",
         "what is um the height of the sea", "bread needs flour and yeast", "the yeast eats sugar in the flour",
         "so the bread rises in two hours", "then the bread goes into the oven")  # fmt: skip


def said(*texts: str, gap: float = 0.5, confidence: float = 0.9) -> list[dict[str, Any]]:
    """Transcript segments, a word every 0.3 s, ``gap`` seconds apart."""
    rows, at = [], 0.4
    for number, text in enumerate(texts):
        words = [{"word": w, "start": at + 0.3 * i, "end": at + 0.3 * i + 0.25, "confidence": confidence}
                 for i, w in enumerate(text.split())]  # fmt: skip
        end = words[-1]["end"]
        rows.append({"id": number, "start": at, "end": end, "text": text, "language": "en", "confidence": confidence,
                     "no_speech": 0.0, "words": words})  # fmt: skip
        at = end + gap
    return rows


def plain(*texts: str, **more: Any) -> list[str]:
    return [s.text for s in sentences(words_of(said(*texts, **more)), 0.3, 40)]


def test_bare_words_become_sentences_at_pauses_and_segment_ends() -> None:
    assert plain("um the moon pulls", "i think it's um i'm sure", "how does it work") == [
        "The moon pulls.", "I think it's I'm sure.", "How does it work?",
    ]  # fmt: skip
    assert plain("one two", "three", gap=0.0) == ["One two.", "Three."]


def test_punctuated_text_is_left_alone_but_for_fillers() -> None:
    written = "Um, the Moon pulls, e.g. on seas. Dr. Byron said so, uh. It rose 3.5 metres"
    assert plain(written) == ["The Moon pulls, e.g. on seas.", "Dr. Byron said so.", "It rose 3.5 metres"]
    assert plain("all lower. but punctuated, i say") == ["All lower.", "But punctuated, I say"]


def test_unicode_is_mended_and_times_stay_with_their_words() -> None:
    words = words_of([{"start": 2.0, "end": 4.0, "text": "cafÃ© e\u0301tude", "confidence": 0.5, "words": []}])
    assert [w.text for w in words] == ["café", "étude"] and words[1].last
    assert words[0].start == 2.0 and words[1].end == 4.0 and 2.5 < words[0].end < 3.5


def unspaced(*texts: str, listed: bool = True) -> list[dict[str, Any]]:
    """Segments of one second a sign; the words of a text are parted by |, or not listed at all."""
    rows, at = [], 0.0
    for text in texts:
        words = [
            {"word": w, "start": at + n, "end": at + n + 1, "confidence": 0.9} for n, w in enumerate(text.split("|"))
        ]
        end = words[-1]["end"]
        text = text.replace("|", "")
        rows.append({"text": text, "start": at, "end": end, "confidence": 0.9, "words": words if listed else []})
        at = end
    return rows


@pytest.mark.parametrize("listed", [True, False])
def test_sentences_end_at_every_scripts_stop_and_get_no_blanks_and_no_foreign_stop(listed: bool) -> None:
    def told(*texts: str) -> list[str]:
        return [s.text for s in sentences(words_of(unspaced(*texts, listed=listed)), 1.5, 40)]

    assert told("今天|我们|讲|树。|明天", "讲|图。", "好|吗？") == ["今天我们讲树。", "明天讲图。", "好吗？"]
    assert told("これ|は|「木」|です。|はい！") == ["これは「木」です。", "はい！"]
    assert told("我们|用|Python|写。|好。") == ["我们用Python写。", "好。"]
    assert told("ไม่|เป็น|ไร") == ["ไม่เป็นไร"] and told("今天|我们|讲|树") == ["今天我们讲树"]
    assert told("كيف| حالك؟| بخير") == ["كيف حالك؟", "بخير"]
    assert told("यह| पेड़| है।| वह| नहीं।") == ["यह पेड़ है।", "वह नहीं।"] and told("यह| पेड़") == ["यह पेड़।"]
    assert told("می‌خواهم| بروم.| باشه.")[0] == "می‌خواهم بروم."


def test_a_sentence_without_blanks_is_cut_by_twice_as_many_signs_as_words() -> None:
    long = "|".join("今" * 100) + "。"
    assert max(s.words for s in sentences(words_of(unspaced(long)), 9, 40)) in range(50, 81)
    assert (
        paragraph(["今天讲树。", "好吗？", "没有句号", "下一句", "One.", "Two."])
        == "今天讲树。好吗？没有句号 下一句 One. Two."
    )


def test_an_endless_sentence_is_cut_at_its_longest_pause() -> None:
    spoken = said(" ".join(["word"] * 30))
    for word in spoken[0]["words"][17:]:
        word["start"], word["end"] = word["start"] + 0.2, word["end"] + 0.2
    assert [s.words for s in sentences(words_of(spoken), 9, 20)] == [17, 13]


def test_topics_change_where_the_words_do_and_no_segment_is_over_its_room() -> None:
    assert boundaries(TIDES, [8] * 8, 512, 3, 3) == [0, 4]
    cut = boundaries(TIDES, [8] * 8, 20, 2, 3)
    assert 4 in cut and max(b - a for a, b in zip(cut, [*cut[1:], 8], strict=True)) <= 2
    assert boundaries([], [], 10, 1, 3) == [] and boundaries(["a b c"], [99], 10, 1, 3) == [0]


def test_silence_of_a_span_is_what_lies_inside() -> None:
    assert silent([(0, 2), (5, 9)], 1, 6) == pytest.approx(0.4) and silent([], 0, 1) == 0


@pytest.fixture(scope="module")
def lectured(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Five lectures transcribed, one that failed; what segment and lecture_questions made of them."""
    root = tmp_path_factory.mktemp("lectures")
    recordings, transcripts = root / "recordings", []
    for number, split in enumerate(("train", "train", "val", "test")):
        name, other = f"tide-{number}", f"harbour{number}"
        spoken = said(*(text.replace("sea", other) for text in TIDES))
        asked = {"question": "Why does the bread rise?", "answer": "yeast", "start": spoken[6]["start"] - 0.2}
        about = {"lecture_id": name, "title": "Tides and bread", "file": f"{name}.ogg", "sha256": str(number),
                 "codec": "opus", "duration_s": spoken[-1]["end"] + 0.3, "sample_rate": 16_000, "channels": 1,
                 "loudness": -20.0, "silence_share": 0.2, "video": False, "speaker": "Ada", "condition": "clean",
                 "split": split, "changed_at": pd.Timestamp("2026-05-01", tz="UTC"), "note": "",
                 "bullets": ["The moon pulls."] if number else [], "questions": [asked]}  # fmt: skip
        write_stage(recordings, name, "recording", [about], "v1")
        write_stage(recordings, name, "silences", [{"start": 0.0, "end": 0.4}], "v1")
        write_stage(root / f"t{number}", name, "transcript", spoken, "v2")
        transcripts.append(root / f"t{number}")
    (root / "bad").mkdir()
    write_quarantine(root / "bad" / "quarantine.parquet", [{"lecture": "x", "file": "", "reason": "not transcribed"}])
    write_quarantine(recordings / "quarantine.parquet", [])
    made = {n: Dataset(uri=str(root / f"{n}.parquet")) for n in ("passages", "sentences", "summaries")}
    component.python_func(
        transcripts=[Dataset(uri=str(path)) for path in (*transcripts, root / "bad")],
        recordings=Dataset(uri=str(recordings)), settings={"min_sentences": 3.0},
        report=HTML(uri=str(root / "report.html")), **made,
    )  # fmt: skip
    questions = Dataset(uri=str(root / "questions.parquet"))
    lecture_questions.python_func(
        passages=made["passages"], sentences=made["sentences"], recordings=Dataset(uri=str(recordings)),
        settings={"per_passage": 4.0}, questions=questions,
    )  # fmt: skip
    tables = {name: pd.read_parquet(one.path) for name, one in (*made.items(), ("questions", questions))}
    return SimpleNamespace(root=root, **tables)


def test_segments_are_passages_with_times_and_figures_of_speech(lectured: SimpleNamespace) -> None:
    rows = lectured.passages[lectured.passages["path"] == "tide-0"]
    assert len(rows) == 2 and rows["kind"].unique() == ["segment"] and rows["name"].unique() == ["Tides and bread"]
    assert rows["text"].iloc[1].startswith("Tides and bread\nBread needs flour and yeast. The yeast eats")
    assert rows["start_s"].iloc[0] == pytest.approx(0.4) and rows["end_s"].iloc[0] < rows["start_s"].iloc[1]
    assert rows["speech_rate"].between(100, 200).all() and (rows["confidence"] - 0.9).abs().max() < 1e-6
    page = (lectured.root / "report.html").read_text()
    assert "not transcribed" in page and "tide-3" in page


def test_few_lectures_lend_their_segments_to_every_split(lectured: SimpleNamespace) -> None:
    assert set(lectured.passages["split"]) == {"train", "val", "test"}
    few = every_split(lectured.passages[lectured.passages["split"] == "train"])
    assert sorted(few["split"]) == ["test", "train", "train", "val"]


def test_sentences_and_bullets_are_the_corpus_of_highlights(lectured: SimpleNamespace) -> None:
    first = lectured.sentences[lectured.sentences["document_id"] == "tide-1"]
    assert first["position"].tolist() == list(range(8)) and (first["end"] > first["start"]).all()
    assert first["text"].iloc[3] == "What is the height of the harbour1?"
    assert lectured.summaries["document_id"].tolist() == ["tide-1", "tide-2", "tide-3"]
    assert lectured.summaries["source"].unique() == ["transcript"]


def test_known_questions_are_the_persona_set_and_point_at_the_second_of_their_answer(lectured: SimpleNamespace) -> None:
    known = lectured.questions[lectured.questions["split"] == "persona"]
    assert len(known) == 1 and known["answer"].iloc[0] == "So the bread rises in two hours."
    rows = lectured.passages.set_index("passage_id").loc[list(known["gold"].iloc[0])]
    assert (
        rows["path"].tolist() == [f"tide-{n}" for n in range(4)] and rows["doc"].str.contains("the bread rises").all()
    )
    assert list(known["places"].iloc[0]) == rows["path"].tolist()


def test_rule_made_questions_withhold_their_sentence_and_stay_in_one_split(lectured: SimpleNamespace) -> None:
    made = lectured.questions[lectured.questions["origin"] == "rule"]
    texts = lectured.passages.set_index("passage_id")
    assert set(made["split"]) == {"train", "val", "test"} and set(made["category"]) <= {"what", "why", "how"}
    for row in made.itertuples():
        assert all(
            row.withheld in texts.loc[gold, "text"] and texts.loc[gold, "split"] == row.split for gold in row.gold
        )
    # "the yeast eats sugar in the flour" stands in every lecture, so in several splits.
    assert not made["withheld"].str.contains("yeast eats").any()


def test_the_data_gate_judges_segments_by_their_times_too(lectured: SimpleNamespace) -> None:
    wrong = lectured.passages.copy()
    wrong.loc[0, "end_s"], wrong.loc[1, "confidence"], wrong.loc[2, "speech_rate"] = 0.1, 1.5, 900
    wrong.loc[4, "start_s"], wrong.loc[5, "start_s"], wrong.loc[7, "end_s"] = -1, 0.5, 500
    found = check(wrong, lectured.questions, Settings())
    reasons = found.quarantined.query("table == 'passages'").set_index("row_number")["reasons"]
    assert not found.verdict.passed and "75.0% of passages quarantined" in found.verdict.reason
    expected = {0: "length", 1: "confidence", 2: "rate", 4: "begin", 5: "order", 7: "end"}
    assert all(any(r.startswith(name) for r in reasons[row]) for row, name in expected.items()) and len(reasons) == 6


def test_no_speech_anywhere_stops_the_run(lectured: SimpleNamespace, tmp_path: Path) -> None:
    from components.segment.passages import SegmentSettings
    from components.segment.run import SegmentOutputs as Made
    from components.segment.run import segment

    out = Made(*(tmp_path / name for name in "abcd"))
    with pytest.raises(SluiceError, match="no lecture has a transcribed sentence"):
        segment([lectured.root / "bad"], lectured.root / "recordings", SegmentSettings(), out)
