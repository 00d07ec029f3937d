"""A rollout against the laptop's real control plane, with Locust's real load; only the model behind it is a toy.

test_rollout_decide.py and test_rollout_standard.py have what is quick of it.
"""

import json
import sys
from pathlib import Path

import pytest
import yaml

from components.rollout.cluster import ClusterClient
from components.rollout.component import rollout
from components.rollout.graph import apply_graphs
from components.rollout.manifests import read_manifests
from components.rollout.modes import observe, with_canary
from components.rollout.objects import ServedRelease
from components.rollout.operate import rollback, status
from load_tests.asked import write_asked
from serving.contract.errors import SluiceError
from serving.contract.verdict import read_verdicts
from serving.laptop import process

pytestmark = pytest.mark.e2e
ASKED = [
    {"id": f"q{n}", "task": "retrieval", "instance": {"question": f"how do I do thing {n}?"}, "units": 1,
     "expect": {"paths": ["gold.py"]}, "persona": ("novice", "experienced", "researcher")[n % 3]}
    for n in range(30)
]  # fmt: skip


class Desk:
    """A person who rolls out toy bundles."""

    def __init__(self, place: Path) -> None:
        self.place = place
        manifests = read_manifests("codebase")
        container = manifests.runtime["spec"]["containers"][0]
        container["command"] = [sys.executable, str(Path(__file__).with_name("toy_predictor.py"))]
        container["args"] = ["--model-dir=/mnt/models", "--http-port=8080"]
        container["readinessProbe"]["periodSeconds"] = 1
        (place / "manifests").mkdir()
        both = yaml.safe_dump_all([manifests.service, manifests.runtime])
        (place / "manifests" / "all.yaml").write_text(both)
        slo = {
            "slo": {"requests_per_s": 5, "p95_ms": 1000, "min_requests": 10},
            "load": {"users": 6, "rate": 40, "seconds": 1},
        }
        (place / "slo.yaml").write_text(yaml.safe_dump(slo))
        write_asked(ASKED, place / "asked")
        self.settings = {
            "steps": [50, 100], "window_s": 1.0, "direct_rate": 40.0, "slo": str(place / "slo.yaml"),
            "manifests": str(place / "manifests"), "min_samples": 20.0, "latency_ratio": 20.0,
            "detectable_error_rate": 0.3,
        }  # fmt: skip

    def bundle(self, name: str, percent_right: int = 90, seconds: float = 0.001) -> Path:
        made = self.place / name
        made.mkdir(exist_ok=True)
        toy = {"percent_right": percent_right, "seconds": seconds, "name": name}
        (made / "bundle.json").write_text(json.dumps(toy))
        return made

    def roll_out(self, bundle: Path, version: str, champion: Path | None = None):
        from kfp.dsl import HTML, Artifact, Dataset, Model

        return rollout.python_func(
            system="codebase",
            bundle=Model(uri=str(bundle)),
            version=version,
            champion=Model(uri=str(champion or bundle)),
            asked=Dataset(uri=str(self.place / "asked")),
            settings=self.settings,
            verdicts=Artifact(uri=str(self.place / "verdicts")),
            report=HTML(uri=str(self.place / "report")),
        )


@pytest.fixture(scope="module", params=["Knative", "Standard"])
def desk(tmp_path_factory, request):
    place = tmp_path_factory.mktemp("rollout")
    plane = process.start(place / "serving", 21000 + hash(str(place)) % 5000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_HOME", str(place))
        patch.setenv("SLUICE_DEPLOYMENT_MODE", request.param)
        process.wait_until_up(place / "serving", 30, plane)
        yield Desk(place)
    plane.terminate()
    plane.wait(30)


def test_a_release_goes_up_a_worse_one_comes_back_and_a_person_can_undo(desk):
    first, wrong, good = desk.bundle("first"), desk.bundle("wrong", percent_right=20), desk.bundle("good", 95)
    assert status("codebase") == {"system": "codebase", "deployed": False}
    with pytest.raises(SluiceError, match="nothing was rolled out here yet"):
        rollback("codebase")

    promoted, reason = desk.roll_out(first, "1")
    assert promoted, reason
    kept = read_verdicts(desk.place / "verdicts")
    assert desk.roll_out(first, "1") == (True, status_reason("1"))
    assert read_verdicts(desk.place / "verdicts") == kept, "a rerun keeps the verdicts that brought it there"

    promoted, reason = desk.roll_out(wrong, "2")
    assert not promoted
    assert "correct answers" in reason
    verdicts = read_verdicts(desk.place / "verdicts")
    assert [v.gate for v in verdicts if v.passed] == ["load", "load"]
    assert "correct answers" in (desk.place / "report").read_text()
    now = status("codebase")
    assert (now["version"], now["ready"], now["canary_percent"]) == ("1", True, None)
    assert now["restored"] is (now["mode"] == "Knative"), "in Standard mode stable was never taken away"

    promoted, reason = desk.roll_out(good, "3")
    assert promoted, reason
    assert [h["version"] for h in status("codebase")["history"]] == ["1"]
    assert "serves version 1 again" in rollback("codebase", by="Ada")
    now = status("codebase")
    assert (now["version"], now["ready"], now["canary_percent"], now["history"]) == ("1", True, None, [])
    assert now["traffic"][0]["percent"] == 100

    graphs_follow(desk)
    left_alone(desk, good)


def status_reason(version: str) -> str:
    return f"bundle {status('codebase')['bundle']} (version {version}) is already at 100 %"


def graphs_follow(desk):
    """A graph is made once all of its services are there, and changed when its manifest is."""
    base = desk.place / "base"
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


def left_alone(desk, good):
    """Somebody starts a canary by hand: the next rollout touches nothing and says why."""
    cluster = ClusterClient()
    manifests = read_manifests("codebase", desk.settings["manifests"])
    other = ServedRelease(
        "theirs", "9", manifests.predictor(desk.bundle("theirs").as_uri(), manifests.runtime["metadata"]["name"])
    )
    known = observe(cluster.get("codebase"))
    cluster.change(known, "codebase", lambda live: with_canary(live, manifests.service, other, 33))
    before = cluster.get("codebase")["metadata"]["generation"]
    promoted, reason = desk.roll_out(good, "3")
    assert not promoted
    assert "a canary of bundle theirs (version 9) is under way at 33 %" in reason
    assert cluster.get("codebase")["metadata"]["generation"] == before
    cluster.close()
