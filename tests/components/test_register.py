import json

import pytest

from components.champion.component import champion
from components.champion.run import find_champion
from components.common import registry
from components.register.component import register
from components.register.run import register as register_bundle
from components.report.sources import registry_figures
from serving.contract.bundle import Bundle, EncoderSpec, Lineage, Variant
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict, write_verdicts

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's own

PASSED = [Verdict("data", True, "clean", {"rows": 100}), Verdict("quality", True, "better", {"recall@10 vs BM25": 0.1})]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One registry for the module: MLflow takes seconds to make its tables."""
    place = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("SLUICE_HOME", str(place))
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield place
    patch.undo()


def make_bundle(directory, content: str):
    directory.mkdir(parents=True)
    (directory / "weights.bin").write_text(content)
    Bundle(
        system="codebase",
        task="retrieval",
        base_model="minilm",
        adapter={"rank": 16},
        encoder=EncoderSpec(dim=8, max_tokens=16),
        lineage=Lineage(data="d1", code="c1"),
        inputs={},
        outputs={},
        metrics={"recall@10_val_withheld": 0.8},
        variants={"int8": Variant(file="encoder/int8.onnx", bytes=10)},
        variant="int8",
    ).write(directory)
    return directory


def test_without_a_registry_the_base_model_is_the_champion(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "new"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_champion("codebase", tmp_path)[:2] == ("base", None)
    assert not (tmp_path / "new").exists()


def test_registering_stores_the_bundle_and_is_done_once_per_content(home, tmp_path):
    bundle = make_bundle(tmp_path / "run" / "bundle", "one")
    first = register_bundle("once", bundle, PASSED)
    again = register_bundle("once", bundle, PASSED)
    assert first == again
    assert first.aliases == ("challenger",)
    assert first.compared_with == "base"
    assert (home / "bundles" / "once" / first.digest / "weights.bin").read_text() == "one"
    assert [v.gate for v in registry.verdicts_of("once", first.version)] == ["data", "quality"]


def test_the_stored_bundle_survives_the_run_that_made_it(home, tmp_path):
    import shutil

    bundle = make_bundle(tmp_path / "run" / "bundle", "survivor")
    entry = register_bundle("survives", bundle, PASSED)
    shutil.rmtree(tmp_path / "run")
    assert Bundle.read(entry.path).base_model == "minilm"


def test_promotion_moves_the_aliases_and_can_be_taken_back(home, tmp_path):
    one = register_bundle("moves", make_bundle(tmp_path / "a", "a"), PASSED)
    registry.promote("moves", one.version)
    two = register_bundle("moves", make_bundle(tmp_path / "b", "b"), PASSED)
    assert two.compared_with == one.version
    registry.promote("moves", two.version)
    registry.promote("moves", two.version)  # twice is once
    assert registry.champion_of("moves").version == two.version
    assert registry.alias_of("moves", "previous").version == one.version
    assert registry.alias_of("moves", "challenger") is None
    registry.promote("moves", one.version)
    assert registry.champion_of("moves").version == one.version
    assert registry.alias_of("moves", "previous").version == two.version


def test_a_refused_version_cannot_be_promoted_until_a_person_overrules(home, tmp_path):
    bundle = make_bundle(tmp_path / "a", "refused")
    entry = register_bundle("refuses", bundle, [Verdict("quality", False, "worse")])
    assert entry.status == "refused"
    assert entry.aliases == ()
    with pytest.raises(SluiceError, match="refused by a gate"):
        registry.promote("refuses", entry.version)
    assert register_bundle("refuses", bundle, [Verdict("quality", True, "overruled by Ada")]).status == "registered"
    assert registry.promote("refuses", entry.version).status == "promoted"


def test_the_rollouts_verdicts_join_the_record(home, tmp_path):
    entry = register_bundle("records", make_bundle(tmp_path / "a", "recorded"), PASSED)
    registry.record("records", entry.version, [Verdict("canary", False, "too slow", {"p95_ms": 900})])
    assert [v.gate for v in registry.verdicts_of("records", entry.version)] == ["data", "quality", "canary"]
    assert registry.history("records")[0].status == "rolled back"


def test_a_challenger_judged_before_meets_the_champion_of_then(home, tmp_path):
    first, second = make_bundle(tmp_path / "a", "then"), make_bundle(tmp_path / "b", "now")
    one = register_bundle("rerun", first, PASSED)
    registry.promote("rerun", one.version)
    assert find_champion("rerun", first)[:2] == ("base", None)
    assert find_champion("rerun", second)[:2] == (one.version, one.path)
    two = register_bundle("rerun", second, PASSED)
    registry.promote("rerun", two.version)
    assert find_champion("rerun", second)[:2] == (one.version, one.path)


def test_a_champion_whose_bundle_is_gone_is_one_clear_error(home, tmp_path):
    import shutil

    entry = register_bundle("gone", make_bundle(tmp_path / "a", "gone"), PASSED)
    registry.promote("gone", entry.version)
    shutil.rmtree(entry.path)
    with pytest.raises(SluiceError, match="is gone"):
        find_champion("gone", make_bundle(tmp_path / "b", "other"))


def test_what_is_no_bundle_is_refused(home, tmp_path):
    with pytest.raises(SluiceError, match=r"no bundle\.json"):
        register_bundle("codebase", tmp_path, PASSED)


def test_the_steps_point_their_outputs_at_the_bundles_own_place(home, tmp_path):
    from kfp.dsl import Artifact, Model

    bundle = make_bundle(tmp_path / "bundle", "stepwise")
    write_verdicts(PASSED, tmp_path / "verdict.json")
    stored = Model(uri=str(tmp_path / "stored"))
    version = register.python_func(
        "steps", Model(uri=str(bundle)), Artifact(uri=str(tmp_path / "verdict.json")), {}, stored
    )
    registry.promote("steps", version)
    found = Model(uri=str(tmp_path / "champion"))
    other = make_bundle(tmp_path / "other", "other")
    fallback = Model(uri="/base")
    assert champion.python_func("steps", Model(uri=str(other)), fallback, found) == version
    assert found.path == stored.path
    assert champion.python_func("steps", Model(uri=str(bundle)), fallback, found) == "base"
    assert found.uri == "/base"
    assert json.loads((home / "bundles" / "steps" / stored.metadata["digest"] / "bundle.json").read_text())


def test_prometheus_is_shown_aliases_verdicts_and_figures_of_what_counts(home, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "new"))
    assert not any(family.samples for family in registry_figures())
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("SLUICE_HOME", str(home))
    for content in ("old", "middle", "new"):
        entry = register_bundle("watched", make_bundle(tmp_path / content, content), PASSED)
        registry.promote("watched", entry.version)
    registry.record("watched", "3", [Verdict("canary", False, "slower", {})])
    rows = [(s.name.removeprefix("sluice_registry_"), *s.labels.values(), s.value)
            for family in registry_figures() for s in family.samples if s.labels["system"] == "watched"]  # fmt: skip
    assert {row for row in rows if row[0] in ("versions", "alias_version")} == {
        ("versions", "watched", "rolled back", 1), ("versions", "watched", "replaced", 2),
        ("alias_version", "watched", "champion", 3), ("alias_version", "watched", "previous", 2),
    }  # fmt: skip
    gates = {row[2:] for row in rows if row[0] == "gate_passed"}
    assert {("3", "data", True), ("3", "canary", False), ("2", "data", True)} < gates
    assert "1" not in {version for version, *_ in gates}  # neither the newest nor named by an alias
    assert ("figure", "watched", "3", "data/rows", 100) in rows
    assert {row[2] for row in rows if row[0] == "created_timestamp_seconds" and row[3] > 1.7e9} == {"2", "3"}
