"""The commands for a cluster: the real client of Kubeflow Pipelines against a server that keeps what it is sent."""

import io
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from answered import cited
from conftest import Recorder
from rich.console import Console
from typer.testing import CliRunner

from pipelines import follow, kubeflow
from pipelines.cli import app
from pipelines.compiling import Compiled
from pipelines.systems import remote_revision
from serving.contract.errors import SluiceError


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("KFP_HOST", "KFP_NAMESPACE", "KFP_TOKEN", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def sluice(*arguments: str) -> str:
    """What a command prints; its error is raised."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def task(name: str, state: str, seconds: int = 0, **more: Any) -> dict[str, Any]:
    end = {"end_time": f"2026-03-01T12:00:{seconds:02}Z"} if seconds else {}
    return {"task_id": name, "display_name": name, "state": state, "start_time": "2026-03-01T12:00:00Z", **end, **more}


def run(state: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"run_id": "run-1", "state": state, "run_details": {"task_details": list(tasks)}, **more}


def test_a_run_starts_from_a_version_named_by_its_digest_which_is_uploaded_once(
    kfp_server: Recorder, compiled: Compiled
) -> None:
    connected = kubeflow.connect()
    version = kubeflow.upload(connected, compiled)
    assert version.new and version.name == f"codebase-{compiled.digest}"
    told = sluice("submit", "codebase", "--param", "part=all", "--param", "source=/data/ours")
    (created,), (experiment,) = kfp_server.sent("POST", "/pipelines"), kfp_server.sent("POST", "/experiments")
    assert created["body"]["display_name"] == experiment["body"]["display_name"] == "codebase"
    (uploaded,) = kfp_server.sent("POST", "/pipelines/upload_version")
    assert uploaded["query"]["name"] == version.name and version.name in told, "the same text is the same version"
    assert uploaded["query"]["pipelineid"] == "pipeline-1"
    pipeline, platform = yaml.safe_load_all(uploaded["body"])
    assert pipeline["pipelineInfo"]["name"] == "codebase" and "kubernetes" in platform["platforms"]
    (body,) = (one["body"] for one in kfp_server.sent("POST", "/runs"))
    revision = body["runtime_config"]["parameters"].pop("revision")
    assert revision > "2026", "a source of one's own is read anew"
    assert body["runtime_config"]["parameters"] == {"part": "all", "source": "/data/ours"}
    assert body["service_account"] == "sluice-pipeline" and body["experiment_id"] == "experiment-1"
    assert body["pipeline_version_reference"] == {"pipeline_id": "pipeline-1", "pipeline_version_id": "pipeline-1"}
    assert body["display_name"].startswith("codebase 20")
    assert {one["token"] for one in kfp_server.asked} == {"Bearer secret"}
    assert f"{kfp_server.url}/#/runs/details/run-1" in told


def test_the_default_source_is_as_new_as_peoples_votes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from serving.feedback import FeedbackStore

    assert remote_revision("") == ""
    url = f"sqlite:///{tmp_path}/feedback.db"
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", url)
    assert remote_revision("") == ""
    store = FeedbackStore(url, "")
    cited(store, "r1", "rev-1", "where are rows fetched?", ["p0"])
    store.flush()
    store.feedback("r1", "up", None)
    store.close()
    assert remote_revision("") == "1 votes"


def test_a_schedule_takes_the_place_of_the_one_before(kfp_server: Recorder, compiled: Compiled) -> None:
    told = sluice("schedule", "codebase", "--cron", "0 3 * * 1", "--param", "part=core")
    connected = kubeflow.connect()
    version = kubeflow.upload(connected, compiled)
    kubeflow.schedule(connected, version, {}, "someone", "30 0 4 ? * 1")
    assert version.name in told and not version.new
    first, second = (one["body"] for one in kfp_server.sent("POST", "/recurringruns"))
    assert first["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert second["trigger"]["cron_schedule"]["cron"] == "30 0 4 ? * 1"
    assert first["runtime_config"]["parameters"] == {"revision": "[[ScheduledTime]]", "part": "core"}
    assert first["mode"] == "ENABLE" and int(first["max_concurrency"]) == 1 and first["no_catchup"] is True
    assert first["display_name"] == "codebase on schedule" and first["service_account"] == "sluice-pipeline"
    assert [one["path"] for one in kfp_server.asked if one["method"] == "DELETE"] == ["/recurringruns/recurring-1"]


def test_a_namespace_goes_with_everything_that_several_users_share(
    kfp_server: Recorder, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp_server.health = {"multi_user": True}
    with pytest.raises(SluiceError, match="set KFP_NAMESPACE"):
        kubeflow.connect()
    monkeypatch.setenv("KFP_NAMESPACE", "team-a")
    assert kubeflow.upload(kubeflow.connect(), compiled).new
    assert f"already there: codebase-{compiled.digest}" in sluice("upload", "codebase")
    assert kfp_server.sent("POST", "/pipelines")[0]["body"]["namespace"] == "team-a"
    assert kfp_server.sent("GET", "/pipelines")[0]["query"]["namespace"] == "team-a"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("submit", "codebase", "--param", "epochs"), "--param epochs: expected name=value"),
        (("submit", "movies"), "no system 'movies'"),
        (("schedule", "codebase", "--cron", "3 am"), "expected five fields"),
        (("schedule", "codebase", "--cron", "0 3 * * 7"), "'7' does not fit the day of the week"),
        (("schedule", "codebase", "--cron", "*/0 3 * * *"), "'\\*/0' does not fit the minute"),
        (("schedule", "codebase", "--cron", "0 5-3 * * *"), "'5-3' does not fit the hour"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(
    kfp_server: Recorder, arguments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(SluiceError, match=sentence):
        sluice(*arguments)
    assert kfp_server.asked == []


def test_parameters_that_the_pipeline_does_not_have_or_cannot_read_are_refused(compiled: Compiled) -> None:
    assert kubeflow.arguments(compiled, {"part": "all"}) == {"part": "all"}
    with pytest.raises(SluiceError, match="--param epochs: no such parameter; there is base_model, part, revision"):
        kubeflow.arguments(compiled, {"epochs": "3"})
    numbers = replace(compiled, parameters={"epochs": {"parameterType": "NUMBER_INTEGER"}})
    assert kubeflow.arguments(numbers, {"epochs": "3"}) == {"epochs": 3}
    with pytest.raises(SluiceError, match="--param epochs=three: expected a value of type NUMBER_INTEGER"):
        kubeflow.arguments(numbers, {"epochs": "three"})


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "missing or has expired"), (403, "may not"), (502, "is not the")]
)
def test_a_refusal_is_one_sentence(kfp_server: Recorder, status: int, sentence: str) -> None:
    kfp_server.status = status
    with pytest.raises(SluiceError, match=sentence):
        kubeflow.connect()


def test_a_refusal_after_the_first_answer_is_one_sentence_too(kfp_server: Recorder) -> None:
    connected = kubeflow.connect()
    kfp_server.status = 409
    with pytest.raises(SluiceError, match=r"refused \(HTTP 409\): no"), kubeflow.spoken(connected.host):
        connected.client.list_pipelines()


def test_an_address_without_kfp_is_told_from_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SluiceError, match="KFP_HOST is not set"):
        kubeflow.connect()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(kubeflow, "PROBE_S", 0.2)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("KFP_HOST", address)
        with pytest.raises(SluiceError, match="did not answer within 0.2 s"):
            kubeflow.connect()
    with pytest.raises(SluiceError, match=f"nothing answers at KFP_HOST={address}"):
        kubeflow.connect()


def test_a_run_that_is_waited_for_shows_its_steps_and_outlives_a_bad_moment(
    kfp_server: Recorder, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "EVERY_S", 0.01)
    done = [task("ingest", "SUCCEEDED", 7), task("ingest-driver", "SUCCEEDED", 1), task("root", "RUNNING")]
    kfp_server.runs = [
        run("PENDING"),
        {"http": 503, "message": "one moment"},
        run("RUNNING", *done, task("make-qa", "RUNNING")),
        run("SUCCEEDED", *done, task("make-qa", "SKIPPED", 1)),
    ]
    console = Console(file=io.StringIO(), width=100)
    follow.follow(kubeflow.connect(), "run-1", compiled.titles, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert [line.split() for line in printed.splitlines() if line.strip()] == [
        ["✓", "Ingest", "source", "7", "s"],
        ["=", "Make", "questions", "1", "s"],
    ]


def test_a_run_that_fails_while_waited_for_names_its_step_and_exits_with_1(kfp_server: Recorder) -> None:
    reason = {"code": 2, "message": "passages.parquet: no column 'question'"}
    kfp_server.runs = [run("FAILED", task("root", "FAILED", 9), task("validate", "FAILED", 9, error=reason))]
    command = [sys.executable, "-m", "pipelines.cli", "submit", "codebase", "--wait"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=120)
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert "failed at 'Validate data': passages.parquet: no column 'question'" in told
    assert f"{kfp_server.url}/#/runs/details/run-1" in told and "Traceback" not in told


def test_a_cancelled_run_ends_the_wait(kfp_server: Recorder) -> None:
    kfp_server.runs = [run("CANCELED", task("train", "CANCELED", 1))]
    with pytest.raises(SluiceError, match="cancelled"):
        follow.follow(kubeflow.connect(), "run-1", {}, Console(quiet=True))


def test_a_wait_is_given_up_when_the_token_expires_and_the_run_goes_on(kfp_server: Recorder) -> None:
    connected = kubeflow.connect()
    kfp_server.status = 401
    with pytest.raises(SluiceError, match="expired .*; the run goes on: http"):
        follow.follow(connected, "run-1", {}, Console(quiet=True))


def test_a_kfp_that_stays_away_is_given_up_in_the_end(kfp_server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "EVERY_S", 0.01)
    connected = kubeflow.connect()
    kfp_server.runs = [{"http": 503, "message": "one moment"}]
    with pytest.raises(SluiceError, match=r"\(HTTP 503\): one moment; the run goes on"):
        follow.follow(connected, "run-1", {}, Console(quiet=True))
    assert len(kfp_server.sent("GET", "/runs/run-1")) == follow.PATIENCE
