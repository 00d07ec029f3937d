"""Standard mode live, without the load tests: users ask all the while, and lose nothing at any step."""

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml
from kubernetes import client, config, watch
from urllib3.exceptions import HTTPError

from components.rollout.cluster import ClusterClient, SomebodyElse, kubeconfig
from components.rollout.decide import Move, decide
from components.rollout.drill.traffic import Traffic
from components.rollout.graph import apply_graphs, fitting
from components.rollout.manifests import read_manifests
from components.rollout.modes import first, observe, promoted, with_canary, with_percent
from components.rollout.objects import ServedRelease
from components.rollout.operate import rollback, status
from components.rollout.settings import RolloutSettings
from components.rollout.undo import NotRestored, take_back
from components.rollout.watcher import RolloutWatcher
from serving.contract.errors import SluiceError
from serving.laptop import process
from serving.laptop.standard.rules import workloads

NAME = "codebase"
SETTINGS = RolloutSettings(ready_s=20)
ASKED = [
    {"id": f"q{n}", "task": "retrieval", "instance": {"question": f"how do I do thing {n}?"}, "units": 1,
     "expect": {"paths": ["gold.py"]}, "persona": ("novice", "experienced", "researcher")[n % 3]}
    for n in range(30)
]  # fmt: skip


class Desk:
    """A person who rolls out toy bundles."""

    def __init__(self, place: Path) -> None:
        self.place, self.written = place, place / "manifests"
        manifests = read_manifests(NAME)
        container = manifests.runtime["spec"]["containers"][0]
        container["command"] = [sys.executable, str(Path(__file__).with_name("toy_predictor.py"))]
        container["args"] = ["--model-dir=/mnt/models", "--http-port=8080"]
        container["readinessProbe"]["periodSeconds"] = 1
        self.written.mkdir()
        (self.written / "all.yaml").write_text(yaml.safe_dump_all([manifests.service, manifests.runtime]))

    def bundle(self, name: str) -> Path:
        made = self.place / name
        made.mkdir(exist_ok=True)
        (made / "bundle.json").write_text(json.dumps({"name": name}))
        return made


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    place = tmp_path_factory.mktemp("standard")
    plane = process.start(place / "serving", 26500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_HOME", str(place))
        patch.setenv("SLUICE_DEPLOYMENT_MODE", "Standard")
        process.wait_until_up(place / "serving", 30, plane)
        desk = Desk(place)
        manifests = read_manifests(NAME, desk.written).fitting(None)
        cluster = ClusterClient()
        there = SimpleNamespace(desk=desk, manifests=manifests, cluster=cluster)
        deploy_first(there)
        yield there
        cluster.close()
    plane.terminate()
    plane.wait(30)


def release(desk, name: str) -> ServedRelease:
    runtime = desk.cluster.ensure_runtime(desk.manifests.runtime)
    return ServedRelease(name, name[1:], desk.manifests.predictor(desk.desk.bundle(name).as_uri(), runtime))


def shown(desk, now, percent):
    """Wait until the newest revision is ready and has its share."""

    def there(o):
        share = o.share(o.created)
        return o.settled and share is not None and share.percent == percent

    seen = desk.cluster.wait(now, NAME, there, 20)
    assert there(seen), seen
    return seen


def edit(desk, now, change):
    return desk.cluster.change(now, NAME, change)


def start(desk, now, new, percent):
    return edit(desk, now, lambda live: with_canary(live, desk.manifests.service, new, percent))


def roll_out(desk, now, new):
    """Canary at 100 %, then stable."""
    return shown(desk, edit(desk, shown(desk, start(desk, now, new, 100), 100), promoted), 100)


def deploy_first(desk):
    now = shown(desk, observe(desk.cluster.create(first(desk.manifests.service, release(desk, "b1")))), 100)
    assert decide(now, "b1", (50, 100)).move is Move.RESUME, "no gate has passed yet"
    shown(desk, edit(desk, now, promoted), 100)


class Watched:
    """A context: every version of the object, as the API server tells it."""

    def __init__(self, desk):
        self.seen = []
        config.load_kube_config(str(desk.desk.place / "serving" / "kubeconfig"))
        self.watch, self.list = watch.Watch(), client.CustomObjectsApi().list_namespaced_custom_object
        self.thread = threading.Thread(target=self.follow, daemon=True)

    def follow(self):
        with contextlib.suppress(HTTPError):  # the API server ends before the stream does
            for event in self.watch.stream(self.list, "serving.kserve.io", "v1beta1", "default", "inferenceservices"):
                self.seen.append(event["object"])

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.watch.stop()

    def cut_off(self):
        """Predictors that were removed while they had traffic: a cluster deletes their pods before the route."""
        return [
            name
            for before, after in itertools.pairwise(self.seen)
            for name in {w.name for w in workloads(before)} - {w.name for w in workloads(after)}
            if (share := observe(before).share(name)) and share.percent
        ]


def test_promotion_rollback_and_the_way_back_by_hand_lose_no_request(desk):
    now = observe(desk.cluster.get(NAME))
    with Watched(desk) as versions, Traffic(now.url, NAME, ASKED, rate=60) as users:
        now = shown(desk, start(desk, now, release(desk, "b2"), 50), 50)
        assert [(s.revision, s.percent) for s in now.shares] == [
            ("codebase-r-b2-predictor", 50), ("codebase-r-b1-predictor", 50),
        ]  # fmt: skip
        assert decide(now, "b2", (50, 100)).move is Move.RESUME
        taken = take_back(desk.cluster, NAME, now, SETTINGS, RolloutWatcher(quiet=True))
        assert (taken.release.bundle, taken.percent) == ("b1", None)

        now = roll_out(desk, taken, release(desk, "b3"))
        assert [r.bundle for r in now.history] == ["b1"]
        assert "serves version 1 again" in rollback(NAME, settings=SETTINGS)
        now = shown(desk, observe(desk.cluster.get(NAME)), 100)
        assert (now.release.bundle, now.restored, now.history) == ("b1", True, ())
    assert len(versions.seen) > 10
    assert versions.cut_off() == []
    seen = users.samples()
    assert len(seen) > 100
    assert list(seen[seen["status"] != 200]["error"]) == []
    assert set(seen["revision"]) == {f"codebase-r-{name}-predictor" for name in ("b1", "b2", "b3")}
    told = status(NAME)
    assert (told["mode"], told["version"], told["ready"], told["canary_percent"]) == ("Standard", "1", True, None)


def test_the_graph_that_a_rollout_makes_keeps_the_split_and_outlives_a_promotion(desk, tmp_path):
    steps = [{"name": "ask", "serviceName": NAME, "dependency": "Hard"}]
    spec = {"nodes": {"root": {"routerType": "Sequence", "steps": steps}}}
    notes = {"serving.kserve.io/deploymentMode": "Knative"}
    meta = {"name": "chain", "annotations": notes}
    graph = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "InferenceGraph", "metadata": meta, "spec": spec}
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / "graph.yaml").write_text(yaml.safe_dump(graph))
    assert apply_graphs(desk.cluster, NAME, tmp_path) == ["InferenceGraph chain was created"]
    api, place = client.CustomObjectsApi(config.new_client_from_config(str(kubeconfig()))), ("v1alpha1", "default")

    def live():
        return api.get_namespaced_custom_object("serving.kserve.io", *place, "inferencegraphs", "chain")

    def answered():
        """Revisions that answer through the graph."""
        url = live()["status"]["url"]
        body = {"instances": [ASKED[0]["instance"]]}
        return {httpx.post(url, json=body).raise_for_status().headers["x-sluice-revision"] for _ in range(20)}

    now = observe(desk.cluster.get(NAME))
    (step,) = live()["spec"]["nodes"]["root"]["steps"]
    assert step == {"name": "ask", "serviceUrl": f"{now.url}/v1/models/{NAME}:predict", "dependency": "Hard"}
    assert live()["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    now = shown(desk, start(desk, now, release(desk, "b4"), 50), 50)
    assert answered() == {now.created, now.rolled_out}
    now = shown(desk, edit(desk, shown(desk, edit(desk, now, partial(with_percent, percent=100)), 100), promoted), 100)
    assert answered() == {"codebase-r-b4-predictor"}
    assert live()["status"]["conditions"][0]["status"] == "True"
    assert apply_graphs(desk.cluster, NAME, tmp_path) == ["InferenceGraph chain stands as it should"]
    inside = {"metadata": {"name": NAME}, "status": {"deploymentMode": "Standard"}}
    with pytest.raises(SluiceError, match="'codebase' has no URL yet"):
        fitting(graph, {NAME: inside})
    inside["status"]["url"] = f"http://{NAME}-r-b4-predictor.default.svc.cluster.local"
    with pytest.raises(SluiceError, match="which a promotion deletes; give KServe a gateway"):
        fitting(graph, {NAME: inside})
    assert fitting(graph, {NAME: {"metadata": {"name": NAME}}}) == graph  # Knative: its name stays
    api.delete_namespaced_custom_object("serving.kserve.io", *place, "inferencegraphs", "chain")


KILLED = """
import os, signal, sys
from components.rollout.cluster import ClusterClient
from components.rollout.operate import rollback
change = ClusterClient.change
def last(self, known, name, edit):
    done = change(self, known, name, edit)
    if done.percent == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return done
ClusterClient.change = last
rollback("codebase")
"""


@pytest.mark.parametrize("percent", [0, pytest.param(100, marks=pytest.mark.e2e)])
def test_a_rollback_by_hand_that_was_killed_is_finished_by_the_next_one(desk, percent):
    now = roll_out(desk, observe(desk.cluster.get(NAME)), release(desk, f"b{5 + percent}"))
    before = now.history[0].bundle
    killed = subprocess.run([sys.executable, "-c", KILLED, str(percent)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    half = observe(desk.cluster.get(NAME))
    assert (half.release.bundle, half.percent, half.restored) == (before, percent, True)
    rollback(NAME, settings=SETTINGS)
    now = observe(desk.cluster.get(NAME))
    assert (now.release.bundle, now.percent) == (before, None)


def test_what_somebody_else_changed_and_what_never_starts_are_left_to_people(desk):
    now = observe(desk.cluster.get(NAME))
    broken = release(desk, "b7")
    (desk.desk.place / "b7" / "bundle.json").write_text("not JSON")
    now = start(desk, now, broken, 50)
    seen = desk.cluster.wait(now, NAME, lambda o: o.settled, 20)
    assert "ModelLoadFailed" in seen.failure
    assert [s.revision for s in seen.shares] == [seen.rolled_out], "a canary that is not ready gets no traffic"
    edit(desk, now, partial(with_percent, percent=10))
    with pytest.raises(SomebodyElse, match="somebody else changed InferenceService 'codebase'"):
        take_back(desk.cluster, NAME, now, SETTINGS, RolloutWatcher(quiet=True))
    rollback(NAME, settings=SETTINGS)

    now = roll_out(desk, observe(desk.cluster.get(NAME)), release(desk, "b8"))
    (desk.desk.place / now.history[0].bundle / "bundle.json").unlink()
    with pytest.raises(NotRestored, match="does not start: ModelLoadFailed"):
        rollback(NAME, settings=SETTINGS)
    now = observe(desk.cluster.get(NAME))
    assert decide(now, "b9", (50, 100)).move is Move.TIDY
    assert now.share("codebase-r-b8-predictor").percent == 100
