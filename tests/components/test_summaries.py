import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from kfp.dsl import Dataset

from components.summaries.abstract import seq2seq, summarise, windows, written
from components.summaries.component import summaries
from components.summaries.faithfulness import support
from components.summaries.sources import meetings, own_documents
from components.tasks.highlights import tables
from components.tasks.highlights.oracle import oracle
from components.tasks.highlights.rouge import Reference, rouge, tokens
from components.tasks.highlights.tables import Document
from serving.contract.errors import SluiceError
from serving.highlights.select import Selection
from serving.highlights.text import words


def test_our_texts_are_whole_and_bullets_leave_room_for_shortening():
    documents = own_documents()
    splits = [document.split for document in documents]
    assert len({d.id for d in documents}) == len(documents) >= 60
    assert splits.count("test") >= 20 and splits.count("val") >= 8 and splits.count("train") >= 30
    for d in documents:
        size = sum(len(words(s)) for s in d.sentences)
        assert 10 <= len(d.sentences) <= 14 and len(d.bullets) == 3, d.id
        assert sum(len(words(b)) for b in d.bullets) < 0.45 * size, d.id


def test_what_matters_in_our_texts_is_not_always_in_one_place():
    places = [i / (len(d.sentences) - 1) for d in own_documents()[::3] for i in oracle(d.sentences, d.bullets)]
    shares = np.histogram(places, 4, (0, 1))[0] / len(places)
    assert shares.min() > 0.06 and shares.max() < 0.45


def test_our_rouge_is_rouge_scores_own():
    for document in own_documents()[:6]:
        chosen = document.sentences[1:4]
        exact = rouge(chosen, document.bullets)
        stems = [stem for text in chosen for stem in tokens(text)]
        assert Reference(document.bullets).score(stems) == pytest.approx((exact.rouge1, exact.rouge2))
    assert rouge(["the cats sat"], ["the cat sits"]).rouge1 == pytest.approx(2 / 3)  # stemmed
    assert rouge([], ["a b"]).rouge1 == 0


def test_no_choice_of_the_same_length_is_much_better_than_the_oracle():
    random = np.random.default_rng(0)
    for document in own_documents()[:5]:
        best = oracle(document.sentences, document.bullets)
        size = sum(len(words(s)) for s in document.sentences)
        assert sum(len(words(document.sentences[i])) for i in best) <= 0.3 * size
        top = rouge([document.sentences[i] for i in best], document.bullets).mean12
        tries = [sorted(random.choice(len(document.sentences), 3, replace=False)) for _ in range(10)]
        assert all(rouge([document.sentences[i] for i in t], document.bullets).mean12 <= top + 0.05 for t in tries)
    assert oracle(["nothing in common"], ["something else entirely"], Selection()) == []


def meeting(folder, name, queries=True):
    turns = [
        {"speaker": "A", "content": "Um {disfmarker} we will ship on Friday , I think . Okay ."},
        {"speaker": "B", "content": "It 's the remote with four buttons ."},
    ]
    asked = [
        {"query": "Who ?", "answer": "No ."},
        {"query": "Summarize the whole meeting .", "answer": "They ship on Friday . Four buttons ."},
    ]
    told = {"meeting_transcripts": turns, "general_query_list": asked if queries else []}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(told))


def test_meetings_lose_marks_and_interjections_and_keep_the_whole_summary(tmp_path):
    meeting(tmp_path / "train", "ES2002a")
    meeting(tmp_path / "val", "Bed003", queries=False)
    [found] = meetings(tmp_path)
    assert found.sentences == ["Um we will ship on Friday, I think.", "It's the remote with four buttons."]
    assert found.bullets == ["They ship on Friday.", "Four buttons."]
    assert (found.split, found.source, found.condition) == ("train", "qmsum", "product")
    with pytest.raises(SluiceError, match="no meetings"):
        meetings(tmp_path / "none")
    (tmp_path / "train" / "x.json").write_text("[]")
    with pytest.raises(SluiceError, match="x.json: not a meeting"):
        meetings(tmp_path)


def test_all_sources_become_one_corpus(tmp_path):
    meeting(tmp_path / "more" / "train", "ES2002a")
    spoken = Document(
        "tides-1",
        ["The moon pulls on the sea."] * 3,
        ["The moon."],
        "test",
        "transcript",
        "clean",
        [(0, 1), (1, 2), (2, 3)],
    )
    inputs = Dataset(uri=str(tmp_path / "s")), Dataset(uri=str(tmp_path / "r"))
    tables.write([spoken], inputs[0].path, inputs[1].path)
    corpus, examples = Dataset(uri=str(tmp_path / "corpus")), Dataset(uri=str(tmp_path / "examples"))
    call = dict(source=str(tmp_path / "more"), settings={}, corpus=corpus, examples=examples)
    summaries.python_func(**call, sentences=inputs[0], references=inputs[1])
    found = {d.id: d for d in tables.read(corpus.path, examples.path)}
    assert len(found) == len(own_documents()) + 2 and found["tides-1"].times == spoken.times
    assert examples.metadata["qmsum_train"] == 1
    assert str(pd.read_parquet(corpus.path)["position"].dtype) == "int32"
    tables.write([replace(spoken, id="owls")], inputs[0].path, inputs[1].path)
    with pytest.raises(SluiceError, match="'owls' is there twice"):
        summaries.python_func(**call, sentences=inputs[0], references=inputs[1])


def test_a_missing_column_or_split_is_named(tmp_path):
    tables.write(own_documents()[:2], tmp_path / "c", tmp_path / "e")
    pd.read_parquet(tmp_path / "e").drop(columns="split").to_parquet(tmp_path / "broken")
    with pytest.raises(SluiceError, match="no column 'split'"):
        tables.read(tmp_path / "c", tmp_path / "broken")
    with pytest.raises(SluiceError, match="no document of split 'test'"):
        tables.of_split([d for d in tables.read(tmp_path / "c", tmp_path / "e") if d.split != "test"], "test")


SOURCE = ["The bridge was closed on 3 May.", "Maria Lopez found a crack of 2 mm.", "Trucks must go round by the lake."]


def test_inventions_are_found():
    assert support("A crack of 2 mm closed the bridge, and Lopez found it.", SOURCE).faithful
    wrong = support("The bridge was closed on 9 May by the engineer Peter Smith.", SOURCE)
    assert not wrong.faithful and wrong.invented == ["9", "Peter", "Smith"] and wrong.numbers == 0
    other = support("Penguins swim far across cold oceans.", SOURCE)
    assert not other.faithful and other.words < 0.2


def test_a_sentence_about_something_else_is_seen_by_its_vector():
    axis = {"bridge": 0, "crack": 1, "trucks": 2}

    def encode(texts):
        rows = np.zeros((len(texts), 4), np.float32)
        for row, text in enumerate(texts):
            rows[row, next((at for word, at in axis.items() if word in text.lower()), 3)] = 1
        return rows

    found = support("The bridge was closed. It was found by the lake on May.", SOURCE, encode)
    assert [said.source for said in found.sentences][0] == 0
    assert [round(said.cosine) for said in found.sentences] == [1, 0] and not found.faithful


def test_a_long_text_is_summarised_in_windows_and_then_together():
    asked = []

    def first_sentence(text):
        asked.append(text)
        return text.split(".")[0] + "."

    sentences = [f"Part {at} says that the water rises by {at} metres in spring." for at in range(40)]
    found = summarise(sentences, first_sentence, window=120)
    assert found.windows == len(windows(sentences, 120)) == 4 and len(asked) == 5
    assert found.text == sentences[0] and found.support.faithful
    assert summarise(sentences, lambda text: text, window=120).text  # a writer that shortens nothing comes to an end
    with pytest.raises(SluiceError, match="no sentence"):
        summarise([], first_sentence)


def test_a_seq2seq_model_writes_and_a_missing_one_is_named(tmp_path):
    from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

    from components.base.fetch import minilm_directory

    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 1)
    ends = {
        "pad_token_id": 0,
        "bos_token_id": 101,
        "eos_token_id": 102,
        "decoder_start_token_id": 102,
        "forced_eos_token_id": 102,
    }
    config = BartConfig(
        vocab_size=30522,
        d_model=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        **sizes,
        **ends,
    )
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(str(minilm_directory())).save_pretrained(tmp_path)
    write = seq2seq(str(tmp_path), longest=5)
    assert isinstance(write("The moon pulls on the sea. " * 30), str)
    found = written(["The moon pulls on the sea."], str(tmp_path))
    assert {"text", "windows", "faithful", "invented"} <= set(found) and found["windows"] == 1
    with pytest.raises(SluiceError, match="is neither a model directory"):
        seq2seq(str(tmp_path / "none"))
