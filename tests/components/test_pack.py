import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from kfp.dsl import Dataset, Metrics, Model

from components.pack.component import pack
from components.pack.run import pack as pack_files
from components.tasks.retrieval.packing.examples import Examples, days_of, first_half
from components.tasks.retrieval.packing.fit import Judged, choose_threshold, fit_calibration, fit_ranker, fit_rules
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.files import digest
from serving.contract.load import load
from serving.retrieval.passages import withhold
from serving.retrieval.ranker import FEATURES, Candidates

NAMES = ("passages", "questions", "frame", "snapshot")
PARTS = ("corpus", "examples", "frame", "snapshot")


def paths(folder: Path) -> list[Path]:
    return [folder / "variants", *(folder / f"{name}.parquet" for name in NAMES)]


def run(files: list[Path], settings: dict[str, Any], bundle: Path) -> None:
    pack_files(*files[:3], settings, bundle, *files[3:])


def examples(count: int = 120, gold_feature: int = 1) -> Examples:
    """Questions whose gold candidate is the one with the highest value of one feature, mostly."""
    random = np.random.default_rng(3)
    features = random.normal(size=(count, 20, len(FEATURES))).astype(np.float32)
    noisy = features[:, :, gold_feature] + 0.3 * random.normal(size=(count, 20))
    gold = noisy.argmax(axis=1)[:, None] == np.arange(20)
    rows = np.broadcast_to(np.arange(20), (count, 20))
    found = Candidates(rows, np.ones((count, 20), bool), features[:, :, :4])
    return Examples(found, features, gold, random.random((count, 20)).astype(np.float32), np.ones(count, bool))


def test_the_component_writes_a_bundle_that_serving_loads(tiny_data: Path, tmp_path: Path) -> None:
    variants, *tables = (str(path) for path in paths(tiny_data))
    bundle, metrics = Model(uri=str(tmp_path / "bundle")), Metrics(uri=str(tmp_path / "metrics"))
    datasets = {name: Dataset(uri=uri) for name, uri in zip(PARTS, tables, strict=True)}
    pack.python_func(
        variants=Model(uri=variants), **datasets, settings={"sentences": 2.0}, bundle=bundle, metrics=metrics
    )
    assert 0 < metrics.metadata["recall@10_val_withheld"] <= 1
    predictor = load(bundle.path)
    assert predictor.predict([predictor.parse({"question": "what is a verdict?"})])[0]["sources"]
    predictor.close()


def test_a_bundle_names_its_lineage_and_the_digest_follows_the_data(
    tiny_data: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_CODE_DIGEST", "c0de")
    fewer = pd.read_parquet(tiny_data / "questions.parquet").iloc[1:]
    fewer.to_parquet(tmp_path / "questions.parquet")
    files = paths(tiny_data)
    files[2] = tmp_path / "questions.parquet"
    run(files, {"mlflow_run": "r1", "sentences": 0}, tmp_path / "bundle")
    lineage = Bundle.read(tmp_path / "bundle").lineage
    assert (lineage.code, lineage.mlflow_run) == ("c0de", "r1")
    assert lineage.data != Bundle.read(tiny_bundle).lineage.data


def test_a_bundle_carries_its_bill_of_materials(tiny_bundle: Path) -> None:
    told = json.loads((tiny_bundle / "sbom.json").read_text())
    strict = JsonStrictValidator(SchemaVersion.V1_6)
    assert strict.validate_str(json.dumps(told)) is None
    assert strict.validate_str(json.dumps({**told, "bomFormat": "SPDX"})) is not None
    parts = {part["bom-ref"]: part for part in told["components"]}
    bundle = Bundle.read(tiny_bundle)
    assert parts["base-model"]["name"] == bundle.base_model
    assert parts["data"]["version"] == bundle.lineage.data
    for name, variant in bundle.variants.items():
        for file in [tiny_bundle / variant.file] if (tiny_bundle / variant.file).is_file() else []:
            part = parts[f"variant/{name}/{variant.file}"]
            assert part["hashes"][0]["content"] == hashlib.sha256(file.read_bytes()).hexdigest()
    libraries = {part["name"] for part in told["components"] if part["type"] == "library"}
    assert {"onnxruntime", "kserve", "tokenizers", "psycopg-binary"} <= libraries
    assert not {"torch", "mlflow", "pytest"} & libraries
    assert set(told["dependencies"][0]["dependsOn"]) == set(parts)


def test_packing_twice_gives_the_same_bytes(tiny_data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    run(paths(tiny_data), {}, tmp_path / "again")
    for part in ("bundle.json", "ranker.json", "index/vectors.npy", "index/bm25"):
        assert digest(tmp_path / "again" / part) == digest(tiny_bundle / part), part


def test_evaluation_need_not_encode_what_pack_encoded(tiny_data: Path, tiny_bundle: Path) -> None:
    predictor = load(tiny_bundle)
    passages, questions = (pd.read_parquet(tiny_data / f"{name}.parquet") for name in NAMES[:2])
    predictor.encoder._session = None  # type: ignore[attr-defined]  # any run of the encoder would now raise
    again = predictor.reindex(withhold(passages, questions))  # type: ignore[attr-defined]
    assert again.index.vectors.shape == predictor.index.vectors.shape  # type: ignore[attr-defined]
    predictor.close()


def test_a_failure_leaves_the_bundle_that_was_there(tiny_data: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    before = digest(tmp_path / "bundle")
    broken = shutil.copytree(tiny_data / "variants", tmp_path / "variants")
    (broken / "tokenizer.json").unlink()
    with pytest.raises(SluiceError):
        run([broken, *paths(tiny_data)[1:]], {}, tmp_path / "bundle")
    assert digest(tmp_path / "bundle") == before and {p.name for p in tmp_path.iterdir()} == {"bundle", "variants"}


@pytest.mark.parametrize(
    ("at", "says"),
    [(0, r"variants\.json: cannot be read .* quantize again"), (1, "run the step ingest again"), (3, "featurize")],
)
def test_a_missing_input_names_the_step_that_makes_it(tiny_data: Path, tmp_path: Path, at: int, says: str) -> None:
    files = paths(tiny_data)
    files[at] = tmp_path / "gone"
    with pytest.raises(SluiceError, match=says):
        run(files, {}, tmp_path / "bundle")


def test_a_missing_column_is_named(tiny_data: Path, tmp_path: Path) -> None:
    files = paths(tiny_data)
    pd.read_parquet(files[1]).drop(columns="summary").to_parquet(tmp_path / "passages.parquet")
    files[1] = tmp_path / "passages.parquet"
    with pytest.raises(SluiceError, match=r"passages\.parquet: no column 'summary'.*components/ingest"):
        run(files, {}, tmp_path / "bundle")


def test_without_validation_questions_there_is_nothing_to_fit(tiny_data: Path, tmp_path: Path) -> None:
    files = paths(tiny_data)
    pd.read_parquet(files[2]).query("split != 'val'").to_parquet(tmp_path / "questions.parquet")
    files[2] = tmp_path / "questions.parquet"
    with pytest.raises(SluiceError, match="no questions of split val"):
        run(files, {}, tmp_path / "bundle")


def test_the_ranker_learns_which_feature_finds_the_gold() -> None:
    data = examples(gold_feature=FEATURES.index("log_shown"))
    ranker = fit_ranker(data)
    assert FEATURES[int(np.argmax(ranker.weights))] == "log_shown"
    scores = ranker.score(data.found, ranker.static(data.features[:, :, 4:]))
    assert np.take_along_axis(data.gold, scores.argmax(axis=1)[:, None], 1).mean() > 0.7
    np.testing.assert_array_equal(ranker.weights, fit_ranker(data).weights)


def test_the_ranker_keeps_its_prior_without_evidence() -> None:
    data = examples(count=5)
    nothing = replace(data, gold=np.zeros_like(data.gold))
    assert fit_ranker(nothing).weights[:2].tolist() == [1.5, 0.5]


def judged(count: int, slopes: tuple[float, float, float], seed: int = 4, rule: bool = False) -> Judged:
    """Questions whose first source is right with the chance that the slopes of the three margins and no bias give."""
    random = np.random.default_rng(seed)
    margin = random.normal(size=(count, 6)) * [2.0, 0.3, 0.1, 1, 1, 1]
    chance = 1 / (1 + np.exp(-margin[:, :3] @ slopes))
    made = np.full(count, rule)
    return Judged(margin.astype(np.float32), np.ones(count), random.random(count) < chance, np.ones(count), made)


def test_confidence_is_calibrated_on_questions_like_those_it_was_fitted_on() -> None:
    data, held = judged(2000, (0.8, 2.0, 5.0)), judged(2000, (0.8, 2.0, 5.0), seed=5)
    weights, bias = fit_calibration(data)
    confidence = 1 / (1 + np.exp(-(held.margin[:, :3] @ weights + bias)))
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (confidence >= low) & (confidence < low + 0.2)
        assert held.correct[inside].mean() == pytest.approx(confidence[inside].mean(), abs=0.08)


def test_a_margin_never_counts_against_an_answer() -> None:
    for count in (15, 2000):  # few questions may point anywhere by chance; many can even mean it
        weights, _ = fit_calibration(judged(count, (-1.0, -2.0, -5.0)))
        assert (weights >= 0).all()


def test_few_questions_leave_the_prior_almost_as_it_is_and_move_its_slopes_together() -> None:
    nothing, bias = fit_calibration(judged(0, (0, 0, 0)))
    few, moved = fit_calibration(judged(15, (3.0, 0.0, 0.0)))
    assert (nothing > 0).all() and bias < 0
    np.testing.assert_allclose(few / nothing, (few / nothing)[0], rtol=1e-5)
    assert 0.5 < (few / nothing)[0] < 2 and abs(moved - bias) < 2


def test_rule_questions_say_nothing_about_how_often_users_are_answered_right() -> None:
    hard = judged(200, (0.6, 1.7, 3.3), rule=True)
    never = replace(hard, correct=np.zeros(200, bool))
    _, without = fit_calibration(judged(0, (0, 0, 0)))
    assert fit_calibration(never)[1] == pytest.approx(without, abs=0.1)
    users = judged(100, (0.6, 1.7, 3.3), seed=6)
    assert fit_calibration(users.join(never))[1] == pytest.approx(fit_calibration(users)[1], abs=0.4)


def test_the_threshold_is_where_abstaining_starts_to_pay() -> None:
    confidence = np.linspace(0.01, 0.99, 500)
    correct = np.random.default_rng(5).random(500) < confidence
    assert 0.1 <= choose_threshold(confidence, correct, wrong_costs=0.25) <= 0.4
    assert choose_threshold(confidence, correct, wrong_costs=0.0) == 0.0
    assert choose_threshold(np.zeros(0), np.zeros(0, bool), wrong_costs=1.0) == 0.5


def test_rules_survive_being_written(tmp_path: Path) -> None:
    data = examples()
    ranker, calibration, scores = fit_rules(data, first_half([str(at) for at in range(120)]), data, 0.25)
    rules = json.loads(json.dumps({"ranker": ranker.to_json(), "calibration": calibration.to_json()}))
    again = type(ranker).from_json(rules["ranker"])
    np.testing.assert_array_equal(again.score(data.found, again.static(data.features[:, :, 4:])), scores)
    assert type(calibration).from_json(rules["calibration"]).threshold == calibration.threshold


def test_questions_join_the_first_day_bucket_at_or_after_asking() -> None:
    frame = pd.DataFrame({"event_timestamp": pd.to_datetime(["2026-01-02", "2026-01-05"], utc=True)})
    asked = pd.Series(
        pd.to_datetime(["2026-01-01 09:00", "2026-01-02 00:00", "2026-01-02 00:01", "2027-01-01 00:00"], utc=True)
    )
    assert days_of(frame, asked).astype("datetime64[D]").astype(str).tolist() == [
        "2026-01-02", "2026-01-02", "2026-01-05", "2026-01-05",
    ]  # fmt: skip


def test_unknown_settings_are_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sentense"):
        run(paths(tiny_data), {"sentense": 3}, tmp_path / "bundle")


def test_without_a_feature_step_the_features_follow_from_the_passages(tiny_data: Path, tmp_path: Path) -> None:
    run(paths(tiny_data)[:3], {"sentences": 0}, tmp_path / "bundle")
    snapshot = pd.read_parquet(tmp_path / "bundle/index/snapshot.parquet")
    assert len(snapshot) == len(pd.read_parquet(tiny_data / "passages.parquet")) and not snapshot["shown"].any()
