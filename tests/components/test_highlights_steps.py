"""Highlights through the steps that learn and judge: a tiny random encoder, and some of our own texts."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_encoder import make_base

from components.common.page import page_data
from components.evaluate.evaluate import evaluate_files
from components.gate.judge import examine, quality_verdict
from components.gate.rules import Rivals
from components.merge.run import merge
from components.pack.run import pack
from components.quantize.run import quantize
from components.summaries.sources import own_documents
from components.tasks.highlights import tables
from components.tasks.highlights.evaluating.systems import constant, redundancy, trivial
from components.tasks.highlights.gating import GATE
from components.tasks.highlights.learning import SalienceLearner, Settings, learner, read
from components.tasks.highlights.learning.head import TorchHead, with_centroid
from components.train.learner import World
from components.train.run import train
from components.train.settings import Hyperparameters
from serving.contract.errors import SluiceError
from serving.contract.load import load
from serving.highlights.features import of_texts
from serving.highlights.features import with_centroid as in_numpy
from serving.highlights.head import Head

HYPER = {"rank": 2, "batch": 4, "learning_rate": 1e-3, "precision": "fp32"}
FAST = {"epochs": 2, "evaluations": 2, "max_tokens": 24}


@pytest.fixture(scope="module")
def room(built_once):
    steps = ("train.run", "merge.run", "quantize.run", "pack.run", "evaluate.evaluate")
    return built_once(make_highlights, "highlights", *(f"components.{step}" for step in steps))


def make_highlights(folder):
    """Base, corpus, examples, and everything that the steps make of them up to a bundle and its predictions."""
    make_base(folder)
    spec = json.loads((folder / "base/sluice.json").read_text())
    (folder / "base/sluice.json").write_text(json.dumps(spec | {"task": "highlights"}))
    some = {"train": 8, "val": 3, "test": 6}
    documents = [d for split, count in some.items() for d in [d for d in own_documents() if d.split == split][:count]]
    spoken = replace(
        documents[-1], source="transcript", times=[(3.0 * i, 3.0 * i + 2) for i in range(len(documents[-1].sentences))]
    )
    files = folder / "corpus.parquet", folder / "examples.parquet"
    tables.write([*documents[:-1], spoken], *files)
    train(*files, folder / "base", HYPER, FAST, folder / "adapter", folder / "history.html")
    merge(folder / "base", folder / "adapter", folder / "merged")
    loose = {"min_smaller": 0.1, "min_retained": 0.2, "repeats": 3}
    quantize(folder / "merged", *files, loose, folder / "variants", folder / "verdict.json", folder / "quantize.html")
    pack(folder / "variants", *files, {"system": "lectures-highlights"}, folder / "bundle")
    out = folder / "predictions.parquet", folder / "evaluate.html", folder / "asked.jsonl"
    evaluate_files(folder / "bundle", *files, {"threads": 1}, *out)


def test_training_writes_a_head_that_serving_reads_and_merging_keeps(room):
    head = Head.read(room / "bundle")
    assert np.abs(head.by_vector).max() > 0 and head.by_feature.any()
    assert (room / "adapter/head.json").read_text() == (room / "merged/head.json").read_text()
    record = json.loads((room / "adapter/training.json").read_text())
    assert record["metrics"]["training_documents"] == 8
    assert {"rouge2_f_stem_1_ref_val", "rouge2_f_stem_1_ref_val_base"} <= set(record["metrics"])


def test_the_bundle_says_its_task_and_summarises(room):
    predictor = load(room / "bundle")
    assert predictor.bundle.task == "highlights" and predictor.bundle.system == "lectures-highlights"
    assert any(name.startswith("rouge12") for name in predictor.bundle.metrics)
    document = own_documents()[0]
    [result] = predictor.predict([predictor.parse({"sentences": [{"text": t} for t in document.sentences]})])
    assert 1 <= len(result["bullets"]) <= 3 and result["length_ratio"] <= 0.3


def test_every_system_is_scored_on_every_test_document(room):
    found = pd.read_parquet(room / "predictions.parquet")
    assert found.groupby("system").size().to_dict() == dict.fromkeys(
        ("constant", "lead", "longest", "oracle", "served"), 6
    )
    mean = found.groupby("system")["rouge12"].mean()
    assert mean["oracle"] == mean.max() and set(found["task"]) == {"highlights"}
    fair = found[found["system"].isin(["served", "lead", "longest"])]
    assert fair["length_ratio"].max() <= 0.3
    data = page_data((room / "evaluate.html").read_text())
    assert data["counts"]["test documents"] == 6
    assert "0:0" in (room / "evaluate.html").read_text()  # a recording's bullets show their times


def test_requests_for_load_tests_carry_label_and_size(room):
    rows = [json.loads(line) for line in (room / "asked.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and len({row["id"] for row in rows}) == 6
    predictor = load(room / "bundle")
    for row in rows:
        assert row["units"] == len(row["instance"]["sentences"]) and row["expect"]["bullets"]
        predictor.parse(row["instance"])


def test_the_trivial_summaries_are_what_their_names_say():
    document = own_documents()[0]
    picked = trivial(document, 3)
    assert picked["lead"][0] == 0 and picked["lead"] == sorted(picked["lead"])
    assert constant(own_documents()[:6]) in [d.bullets for d in own_documents()[:6]]
    assert redundancy(["the moon pulls water", "the moon pulls water"]) == 1 and redundancy(["one"]) == 0


@pytest.fixture
def small(room):
    settings = Settings(**FAST, sentences=8)
    data = read(room / "base", room / "corpus.parquet", room / "examples.parquet", settings)
    found = learner(room / "base", data, Hyperparameters(**HYPER), settings)
    assert isinstance(found, SalienceLearner)
    return found


def test_a_long_document_keeps_the_oracles_sentences_in_every_step(small):
    document = small.data.train[0]
    picked = small._picked(document, np.random.default_rng(1))
    assert len(picked) == 8 < len(document.ids) and set(document.oracle) <= set(picked)
    assert picked != small._picked(document, np.random.default_rng(2))


def test_ranks_share_a_batch_and_their_losses_add_up(small):
    rows, rng = [0, 1, 2], np.random.default_rng
    alone = small.loss(rows, rng(3), World())
    parts = [small.loss(rows, rng(3), World(rank, 2)) for rank in range(2)]
    assert alone.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-4)
    alone.backward()
    assert small.head.by_feature.grad.abs().sum() > 0


def test_the_head_scores_in_torch_as_in_numpy():
    torch.manual_seed(0)
    head = TorchHead(16, 4, pace=30.0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    vectors = torch.nn.functional.normalize(torch.randn(7, 16), dim=1)
    features = of_texts([f"Sentence {'word ' * at}here." for at in range(7)])
    ours = head(vectors, with_centroid(torch.from_numpy(features), vectors)).detach().numpy()
    plain = head.plain().score(vectors.numpy(), in_numpy(features, vectors.numpy()))
    assert np.allclose(ours, plain, atol=1e-4)


def predictions(rouge1, rouge2, bullets=None, count=40):
    """Tables as evaluate writes them; scores vary by document around what is given."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.05, count)
    level = {
        "served": (rouge1, rouge2),
        "lead": (0.3, 0.1),
        "longest": (0.32, 0.1),
        "constant": (0.2, 0.0),
        "oracle": (0.6, 0.4),
    }
    rows = []
    for system, (one, two) in level.items():
        for at in range(count):
            said = bullets or [f"Bullet {system} {at} {rouge1}."]
            scores = {"rouge1": one + noise[at], "rouge2": two + noise[at] / 2, "rougeLsum": one + noise[at]}
            rows.append(
                {"document_id": f"d{at}", "system": system, "source": "sample", "condition": "ab"[at % 2],
                 "bullets": said, **scores, "rouge12": (scores["rouge1"] + scores["rouge2"]) / 2, "length_ratio": 0.25,
                 "redundancy": 0.1, "task": "highlights"}
            )  # fmt: skip
    return pd.DataFrame(rows)


def decide(challenger, champion, base=None, **settings):
    chosen = GATE.settings(resamples=1000, **settings)
    return quality_verdict(
        examine(GATE, Rivals(challenger, champion, champion if base is None else base), chosen), chosen
    )


def test_a_better_highlighter_passes_and_says_by_how_much():
    verdict = decide(predictions(0.45, 0.2), predictions(0.4, 0.15))
    assert verdict.passed and "mean of ROUGE-1 and ROUGE-2" in verdict.reason and "+0.050" in verdict.reason


@pytest.mark.parametrize(
    ("challenger", "champion", "told"),
    [
        ((0.4, 0.15), (0.4, 0.15), "answers exactly as the champion"),
        ((0.38, 0.15), (0.4, 0.15), "has to start above"),
        ((0.56, 0.1), (0.4, 0.15), "ROUGE-2 on the test set"),
        ((0.3, 0.09), (0.2, 0.05), "against longest sentences"),
        ((0.3, 0.09), (0.2, 0.05), "against first sentences"),
    ],
)
def test_no_gain_a_fallen_rouge2_or_a_trivial_rival_stops_it(challenger, champion, told):
    verdict = decide(predictions(*challenger), predictions(*champion))
    assert not verdict.passed and told in verdict.reason


def test_the_same_bullet_for_every_document_is_no_summary():
    verdict = decide(predictions(0.45, 0.2, bullets=["We talked about many things."]), predictions(0.4, 0.15))
    assert not verdict.passed and "distinct bullets" in verdict.reason


def test_new_data_without_training_need_not_gain():
    same = predictions(0.4, 0.15)
    assert decide(same, same, refresh=True).passed


def test_rivals_on_other_documents_are_refused():
    with pytest.raises(SluiceError, match="different"):
        decide(predictions(0.45, 0.2), predictions(0.4, 0.15, count=39))
    with pytest.raises(SluiceError, match="no column rouge12"):
        decide(predictions(0.45, 0.2).drop(columns="rouge12"), predictions(0.4, 0.15))
