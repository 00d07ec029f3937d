"""Broken canaries on a real control plane with real servers: rolled back by themselves, and no user notices."""

import random
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from components.rollout.cluster import ClusterClient
from components.rollout.drill import faults
from components.rollout.drill.__main__ import control_plane, run
from components.rollout.drill.scenes import SCENES, Stage, play, settings_of
from components.rollout.drill.traffic import Traffic
from components.rollout.graph import apply_graphs
from components.rollout.manifests import read_manifests
from components.rollout.modes import observe, with_canary, with_percent
from components.rollout.objects import ServedRelease
from components.rollout.operate import rollback, status
from components.rollout.release import release
from components.rollout.settings import RolloutSettings
from components.tasks.transcription.base import fetch
from components.tasks.transcription.whisper_graphs import export_fp32, quantise
from load_tests.asked import write_asked
from serving.contract.bundle import Bundle, Lineage, Variant
from serving.contract.errors import SluiceError
from serving.contract.verdict import read_verdicts
from serving.transcription.schema import INPUTS, OUTPUTS
from serving.transcription.spec import read_speech

pytestmark = pytest.mark.e2e
QUICK = {"slo": "drill", "window_s": 3, "direct_rate": 20}


def port() -> int:
    return random.randrange(12000, 19000)


@pytest.fixture(params=["Knative", "Standard"])
def mode(request, monkeypatch):
    monkeypatch.setenv("SLUICE_DEPLOYMENT_MODE", request.param)
    return request.param


@pytest.mark.smoke
def test_every_broken_canary_is_rolled_back_and_a_sound_one_promoted_without_losing_a_request(
    tiny_bundle, tmp_path, mode
):
    settings = settings_of(tiny_bundle)
    with control_plane(tmp_path, port()):
        stage = Stage("codebase", tiny_bundle, tmp_path / "bundles", settings, faults.asked_of(tiny_bundle))
        results = list(play(stage, [], print))
    assert [r.scene for r in results] == [s.name for s in SCENES]
    assert {r.scene: r.fault for r in results} == dict.fromkeys((s.name for s in SCENES), "")
    assert {r.scene: r.failed_stable for r in results} == dict.fromkeys((s.name for s in SCENES), 0)
    assert all(r.requests > 20 for r in results)
    why = {r.scene: r.reason for r in results}
    assert "correct answers 0%" in why["wrong"]
    assert "p95" in why["slow"]
    assert "errors" in why["crash"]
    assert "never got ready: ModelLoadFailed" in why["never ready"]


@pytest.fixture(scope="module")
def speech_bundle(tmp_path_factory):
    """A transcriber as `pack` leaves it: Whisper tiny.en as INT8."""
    place = tmp_path_factory.mktemp("speech")
    model, bundle = place / "model", place / "bundle"
    fetch("whisper-tiny.en", model)
    export_fp32(model, place / "fp32")
    quantise(place / "fp32", bundle / "speech" / "int8")
    shutil.copy(model / "tokenizer.json", bundle)
    size = sum(file.stat().st_size for file in (bundle / "speech" / "int8").iterdir())
    Bundle(
        system="lectures-transcriber",
        task="transcription",
        base_model="openai/whisper-tiny.en",
        speech=read_speech(model),
        lineage=Lineage(data="none"),
        inputs=INPUTS,
        outputs=OUTPUTS,
        variants={"int8": Variant(file="speech/int8", bytes=size)},
        variant="int8",
    ).write(bundle)
    return bundle


def test_broken_transcribers_are_rolled_back_too_and_no_recording_is_lost(speech_bundle, tmp_path):
    asked = faults.asked_of(speech_bundle)
    with control_plane(tmp_path, port()):
        stage = Stage("lectures-transcriber", speech_bundle, tmp_path / "bundles", settings_of(speech_bundle), asked)
        results = list(play(stage, [], print))
    assert {r.scene: (r.fault, r.failed_stable) for r in results} == {s.name: ("", 0) for s in SCENES}
    why = {r.scene: r.reason for r in results}
    assert "correct answers 0%" in why["wrong"]
    assert "p95" in why["slow"]
    assert "errors" in why["crash"]
    assert "never got ready: ModelLoadFailed" in why["never ready"]


def test_a_first_deployment_that_misses_its_slo_is_not_left_to_users(tiny_bundle, tmp_path, mode):
    stage = Stage("codebase", tiny_bundle, tmp_path / "b", RolloutSettings(**QUICK), faults.asked_of(tiny_bundle))
    slow, settings = stage.faulty("slow", "--delay", "0.4")
    with control_plane(tmp_path / "home", port()):
        (result,) = play(Stage("codebase", slow, tmp_path / "b", settings, stage.asked), [], print)
        assert "p95" in result.reason
        assert status("codebase") == {"system": "codebase", "deployed": False}


def test_the_drill_is_a_command_with_an_exit_code(tiny_bundle, capfd):
    assert run(tiny_bundle, "codebase", ["never ready"], port()) == 0
    assert "rolled back" in capfd.readouterr().out


def test_an_endpoint_that_wants_a_key_is_rolled_out_by_who_has_one(tiny_bundle, capfd, monkeypatch):
    monkeypatch.setenv("SLUICE_ACCESS", "required")
    monkeypatch.setenv("SLUICE_API_KEYS", "drill:drill-0123456789abcdef")
    assert run(tiny_bundle, "codebase", ["never ready"], port()) != 0
    assert "mostly status 401" in capfd.readouterr().out
    monkeypatch.setenv("SLUICE_API_KEY", "drill-0123456789abcdef")
    assert run(tiny_bundle, "codebase", ["never ready"], port()) == 0
    assert "rolled back" in capfd.readouterr().out


def test_a_rollout_killed_at_the_canary_is_taken_up_by_the_same_command_and_a_person_can_undo_it(
    tiny_bundle, tmp_path, mode
):
    asked = tmp_path / "asked"
    rows = faults.asked_of(tiny_bundle)
    write_asked(rows, asked)
    newer = faults.copy_bundle(tiny_bundle, tmp_path / "newer", "e2e")
    settings = RolloutSettings(**QUICK)

    def roll_out(bundle, version):
        return release(
            "codebase", bundle, "", version, asked, settings, tmp_path / "verdicts.json", tmp_path / "page.html"
        )

    with control_plane(tmp_path / "home", port()):
        with pytest.raises(SluiceError, match="nothing was rolled out here yet"):
            rollback("codebase")
        assert roll_out(tiny_bundle, "1")[0]
        with Traffic(status("codebase")["url"], "codebase", rows) as users:
            killed = subprocess.Popen([sys.executable, "-c", COMMAND.format(newer, asked, QUICK, tmp_path)])
            while status("codebase")["canary_percent"] != 50:
                assert killed.poll() is None, "it ended before it could be killed"
                time.sleep(0.1)
            killed.kill()
            killed.wait()
            promoted, reason = roll_out(newer, "2")
        assert promoted, reason
        assert "taking up the canary" in (tmp_path / "page.html").read_text()
        now = status("codebase")
        assert (now["mode"], now["version"], now["canary_percent"]) == (mode, "2", None)
        seen = users.samples()
        assert len(seen) > 100
        assert list(seen[seen["status"] != 200]["error"]) == []
        kept = read_verdicts(tmp_path / "verdicts.json")
        already, reason = roll_out(newer, "2")
        assert already
        assert "already at 100 %" in reason
        assert read_verdicts(tmp_path / "verdicts.json") == kept, "a rerun keeps the verdicts that brought it there"
        assert [h["version"] for h in now["history"]] == ["1"]
        assert "serves version 1 again" in rollback("codebase", by="Ada")
        now = status("codebase")
        assert (now["version"], now["ready"], now["canary_percent"], now["history"]) == ("1", True, None, [])
        assert now["traffic"][0]["percent"] == 100
        graphs_follow(tmp_path / "base")


def graphs_follow(base):
    """A graph is made once all of its services are there, and changed when its manifest is."""
    (base / "chain").mkdir(parents=True)
    steps = [{"serviceName": "codebase"}, {"serviceName": "other", "data": "$response"}]
    graph = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "InferenceGraph", "metadata": {"name": "chain"}}
    cluster = ClusterClient()
    for kept, told in ((2, "waits for other"), (1, "was created"), (1, "stands as it should")):
        spec = {"nodes": {"root": {"routerType": "Sequence", "steps": steps[:kept]}}}
        (base / "chain" / "graph.yaml").write_text(yaml.safe_dump({**graph, "spec": spec}))
        assert apply_graphs(cluster, "codebase", base) == [f"InferenceGraph chain {told}"]
    spec["nodes"]["root"]["steps"][0]["dependency"] = "Hard"
    (base / "chain" / "graph.yaml").write_text(yaml.safe_dump({**graph, "spec": spec}))
    assert apply_graphs(cluster, "codebase", base) == ["InferenceGraph chain was changed"]
    assert apply_graphs(cluster, "elsewhere", base) == []
    cluster.close()


COMMAND = """
from pathlib import Path
from components.rollout.release import release
from components.rollout.settings import RolloutSettings
settings = RolloutSettings(**{2})
print(*release("codebase", Path("{0}"), "", "2", Path("{1}"), settings, Path("{3}/v"), Path("{3}/r")))
"""


def test_a_rollout_that_somebody_interferes_with_lets_go_and_leaves_a_canary_by_hand_alone(tiny_bundle, tmp_path, mode):
    newer = faults.copy_bundle(tiny_bundle, tmp_path / "newer", "e2e")
    asked = faults.asked_of(tiny_bundle)
    stage = Stage("codebase", tiny_bundle, tmp_path / "b", RolloutSettings(**QUICK), asked)
    with control_plane(tmp_path / "home", port()):
        assert list(play(stage, ["none of them"], print)) == []
        write_asked(asked, tmp_path / "q")
        command = COMMAND.format(newer, tmp_path / "q", QUICK, tmp_path)
        running = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True)
        while status("codebase")["canary_percent"] != 10:
            assert running.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        cluster = ClusterClient()
        cluster.change(observe(cluster.get("codebase")), "codebase", lambda live: with_percent(live, 0))
        told, _ = running.communicate(timeout=60)
        assert "somebody else changed InferenceService 'codebase' during the rollout" in told
        assert status("codebase")["canary_percent"] == 0

        theirs = ServedRelease("theirs", "9", observe(cluster.get("codebase")).release.predictor)
        manifest = read_manifests("codebase").service
        known = observe(cluster.get("codebase"))
        cluster.change(known, "codebase", lambda live: with_canary(live, manifest, theirs, 33))
        before = cluster.get("codebase")["metadata"]["generation"]
        told = subprocess.run(running.args, capture_output=True, text=True).stdout
        assert "a canary of bundle theirs (version 9) is under way at 33 %" in told
        assert cluster.get("codebase")["metadata"]["generation"] == before
        cluster.close()
