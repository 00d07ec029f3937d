from collections import Counter

import pytest

from serving.contract.errors import SluiceError
from serving.laptop.patch import json_patch, merge_patch
from serving.laptop.router import Splitter
from serving.laptop.rules import Revisions, Target, settle
from serving.laptop.template import plan, revision_template
from serving.laptop.validate import validate_inference_service

R1, R2, R3 = "r-00001", "r-00002", "r-00003"


def test_first_deployment_takes_all_traffic_whatever_the_percent():
    revisions, traffic = settle(Revisions(created=R1, ready=R1), None, False)
    assert traffic == (Target(R1, 100, True),)
    assert revisions.rolled_out == R1
    revisions, traffic = settle(Revisions(created=R1, ready=R1), 10, False)
    assert sum(t.percent for t in traffic if t.revision == R1) == 100


def test_canary_takes_its_percent_and_the_last_rolled_out_revision_the_rest():
    revisions, traffic = settle(Revisions(R2, R2, R1), 10, True)
    assert traffic == (Target(R2, 10, True, "latest"), Target(R1, 90, False, "prev"))
    assert revisions.rolled_out == R1


def test_a_revision_that_is_not_ready_gets_no_traffic():
    _, traffic = settle(Revisions(created=R2, ready=R1, rolled_out=R1), 10, False)
    assert {t.revision for t in traffic} == {R1}


@pytest.mark.parametrize("percent", [None, 100])
def test_removing_the_field_or_100_promotes(percent):
    revisions, traffic = settle(Revisions(R2, R2, R1), percent, False)
    assert traffic == (Target(R2, 100, True),)
    assert (revisions.rolled_out, revisions.previous) == (R2, R1)


def test_rolling_back_sets_0_then_restores_the_spec_then_removes_the_field():
    revisions, traffic = settle(Revisions(R2, R2, R1), 0, False)
    assert [(t.revision, t.percent) for t in traffic] == [(R2, 0), (R1, 100)]
    revisions, traffic = settle(Revisions(R3, R3, revisions.rolled_out, revisions.previous), 0, False)
    assert [(t.revision, t.percent) for t in traffic] == [(R3, 0), (R1, 100)]
    revisions, traffic = settle(revisions, None, False)
    assert traffic == (Target(R3, 100, True),)


def test_a_percent_after_the_full_rollout_brings_the_previous_revision_back():
    revisions, traffic = settle(Revisions(R2, R2, R2, R1), 0, False)
    assert [(t.revision, t.percent) for t in traffic] == [(R2, 0), (R1, 100)]
    assert revisions.rolled_out == R1


def test_every_hundred_requests_hold_the_shares_exactly_and_in_no_fixed_rhythm():
    splitter = Splitter({"stable": 90, "canary": 10, "none": 0}, seed=1)
    dealt = [splitter.pick() for _ in range(1000)]
    assert all(Counter(dealt[i : i + 100]) == {"stable": 90, "canary": 10} for i in range(0, 1000, 100))
    assert len({i % 10 for i, name in enumerate(dealt) if name == "canary"}) == 10


def test_patches_follow_the_rfcs():
    document = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merge_patch(document, {"a": {"b": None}, "d": [3]}) == {"a": {"c": [1, 2]}, "d": [3]}
    operations = [
        {"op": "test", "path": "/a/b", "value": 1},
        {"op": "remove", "path": "/a/b"},
        {"op": "add", "path": "/a/c/-", "value": 3},
        {"op": "replace", "path": "/a/c/0", "value": 0},
        {"op": "move", "from": "/d", "path": "/e~1f"},
    ]
    assert json_patch(document, operations) == {"a": {"c": [0, 2, 3]}, "e/f": 1}
    with pytest.raises(SluiceError, match="/x/y does not exist"):
        json_patch(document, [{"op": "remove", "path": "/x/y"}])


def service(**predictor):
    model = {"modelFormat": {"name": "sluice"}, "runtime": "sluice", **predictor.pop("model", {})}
    return {
        "metadata": {"name": "codebase", "namespace": "default"},
        "spec": {"predictor": {"model": model, **predictor}},
    }


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (service(canaryTrafficPercent=150), "150 is not within 0..100"),
        (service(canaryTrafficPercent="10"), "must be an integer"),
        (service(canaryTraficPercent=10), 'unknown field "spec.predictor.canaryTraficPercent"'),
        (service(model={"storageURI": "file:///x"}), 'unknown field "spec.predictor.model.storageURI"'),
        (service(model={"storageUri": "ftp://x"}), "must start with one of gs://"),
        (service(model={"args": [8080]}), "must be a list of strings"),
        (service(minReplicas=3, maxReplicas=2), "cannot be less than minReplicas"),
        (service(containers=[]), "spec.predictor.model with a ServingRuntime only"),
        ({"metadata": {"name": "Code_Base"}}, "lower case letters"),
        ({"metadata": {"name": "codebase"}, "spec": {}}, "spec.predictor: required"),
    ],
)
def test_what_kserve_or_the_laptop_refuses_is_said_with_its_place(bad, message):
    with pytest.raises(SluiceError, match=message):
        validate_inference_service(bad)


def test_a_revision_is_runtime_and_model_together_with_paths_ports_and_names_of_this_machine(tmp_path):
    container = {
        "name": "kserve-container",
        "command": ["python", "-m", "serving"],
        "args": ["--model-name={{.Name}}", "--model-dir=/mnt/models", "--http-port=8080", "--grpc-port", "8081"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "/mnt/models/b"}],
        "readinessProbe": {"httpGet": {"path": "/v2/models/{{.Name}}/ready"}, "periodSeconds": 2},
    }
    spec = {"containers": [container], "supportedModelFormats": [{"name": "sluice"}]}
    runtime = {"metadata": {"name": "sluice"}, "spec": spec}
    own = {"storageUri": f"file://{tmp_path}", "env": [{"name": "A", "value": "2"}], "args": ["--a=$(A)"]}
    template = revision_template(service(model=own, canaryTrafficPercent=5), [runtime])
    launch = plan(template, R1, lambda port: port + 1000)
    assert launch.argv[1:] == (
        *("-m", "serving", "--model-name=codebase", f"--model-dir={tmp_path}"),
        *("--http-port=9080", "--grpc-port", "9081", "--a=2"),
    )
    assert (launch.env["A"], launch.env["B"], launch.env["K_REVISION"]) == ("2", f"{tmp_path}/b", R1)
    assert (launch.port, launch.ready.path, launch.ready.period) == (9080, "/v2/models/codebase/ready", 2.0)
    assert template == revision_template(service(model=own, canaryTrafficPercent=50), [runtime])
