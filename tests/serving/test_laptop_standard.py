"""KServe's Standard mode on a laptop: its rules as pure functions, and a life of predictors side by side."""

import asyncio
import urllib.request
from pathlib import Path

import pytest
from kubernetes import client
from laptop_driver import GRAPHS, GROUP, ISVC, ask, condition, load, run_laptop, wait_for

from serving.contract.errors import SluiceError
from serving.contract.modes import unchanged_mode
from serving.laptop.standard.rules import overlay, weights, workloads
from serving.laptop.validate import validate_change, validate_inference_service

NOTES = {"serving.kserve.io/deploymentMode": "Standard"}


def predictor(uri="file:///models", name=None, **more):
    env = [{"name": "K_REVISION", "value": name or "unnamed"}]
    model = {"modelFormat": {"name": "tiny"}, "runtime": "tiny", "storageUri": uri, "env": env, "name": ""}
    return {"model": model, **({"name": name} if name else {}), **more}


def service(stable, *canaries, name="twin"):
    spec = {"predictor": stable, "canary": [{"trafficPercent": percent, "predictor": own} for percent, own in canaries]}
    kind = {"apiVersion": f"{GROUP}/v1beta1", "kind": "InferenceService"}
    return {**kind, "metadata": {"name": name, "annotations": NOTES}, "spec": spec}


def test_each_predictor_is_a_deployment_named_after_it_with_replicas_by_its_percent():
    found = workloads(service(predictor(minReplicas=4), (25, predictor(name="v2")), (0, predictor(name="v3"))))
    assert [(w.name, w.percent, w.replicas) for w in found] == [
        ("twin-predictor", None, 4), ("twin-v2-predictor", 25, 1), ("twin-v3-predictor", 0, 0),
    ]  # fmt: skip
    found = workloads(service(predictor(name="v2"), (0, predictor(name="v3", minReplicas=1))))
    assert [(w.name, w.replicas) for w in found] == [("twin-v2-predictor", 1), ("twin-v3-predictor", 1)]


def test_a_canary_is_stable_with_its_own_fields_over_it():
    stable = predictor(timeout=30, annotations={"a": "1", "b": "1"}, maxReplicas=9)
    made = overlay(stable, predictor("file:///new", "v2", annotations={"b": "2"}))
    assert made["model"] == predictor("file:///new", "v2")["model"]
    assert (made["timeout"], made["annotations"], made.get("maxReplicas")) == (30, {"a": "1", "b": "2"}, None)


def test_canaries_have_their_percent_once_ready_and_nothing_moves_without_stable():
    wanted = workloads(service(predictor(), (10, predictor(name="v2")), (20, predictor(name="v3"))))
    stable, second, third = (w.name for w in wanted)
    assert weights(wanted, [stable], {}) == {stable: 100}
    assert weights(wanted, [stable, third], {}) == {stable: 80, third: 20}
    assert weights(wanted, [stable, second, third], {}) == {stable: 70, second: 10, third: 20}
    assert weights(wanted, [second], {stable: 100}) == {stable: 100}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (service(predictor(), (150, predictor(name="v2"))), "trafficPercent: 150 is not within 0..100"),
        (service(predictor(), (None, predictor(name="v2"))), "trafficPercent: required"),
        (service(predictor(), (60, predictor(name="v2")), (41, predictor(name="v3"))), "add up to 101"),
        (service(predictor(), (10, predictor())), r"canary\[0\].predictor.name: required"),
        (service(predictor(name="v2"), (10, predictor(name="v2"))), "'v2' is taken"),
        (service(predictor(), (10, predictor(name="v2", maxReplicas=3))), "maxReplicas: not allowed on a canary"),
        (service(predictor(), (10, {"name": "v2", "model": {"modelFormat": {}}})), "model.name: required"),
        (
            service(predictor(minReplicas=4), (10, predictor(name="v2", minReplicas=5))),
            r"5 must not exceed stable's \(4",
        ),
        (
            service(predictor(), (10, predictor(name="v2", minReplicas=2))),
            r"minReplicas: 2 must not exceed stable's \(1",
        ),
        (service(predictor(minReplicas=0), (0, predictor(name="v2", minReplicas=1))), r"must not exceed stable's \(0"),
        (service(predictor(), (1, predictor(name="v2")), (1, predictor(name="v2"))), r"canary\[1\].*'v2' is taken"),
        (service(predictor(), (10, predictor(name="v" * 60))), "longer than 63 characters"),
        (service(predictor(canaryTrafficPercent=10)), "Standard mode ignores it"),
        ({**service(predictor(), (1, {})), "metadata": {"name": "twin"}}, "spec.canary: only Standard mode has it"),
    ],
)
def test_what_kserve_or_the_laptop_refuses_is_said_with_its_place(bad, message):
    with pytest.raises(SluiceError, match=message):
        validate_inference_service(bad)


def test_kserve_takes_any_name_of_a_canarys_model_and_none_of_stables():
    named = predictor(name="v2", minReplicas=4)
    named["model"]["name"] = "mine"
    validate_inference_service(service(predictor(minReplicas=4), (10, named)))
    with pytest.raises(SluiceError, match=r"spec.predictor.model.name: the field 'name' is not allowed"):
        validate_inference_service(service(named))


def test_a_predictor_is_renamed_only_together_with_its_model():
    old = service(predictor("file:///old"))
    validate_change(old, service(predictor("file:///new", "v2")))
    validate_change(old, service(predictor("file:///new")))
    renamed = {**predictor("file:///old"), "name": "v2"}
    with pytest.raises(SluiceError, match="a change of the name requires a change of the model"):
        validate_change(old, service(renamed))


def test_the_mode_of_an_object_stays():
    old = {**service(predictor()), "status": {"deploymentMode": "Standard"}}
    other = {**old, "metadata": {"name": "twin", "annotations": {**NOTES, next(iter(NOTES)): "Knative"}}}
    with pytest.raises(SluiceError, match="cannot be changed from 'Standard' to 'Knative'"):
        unchanged_mode(old, other)
    unchanged_mode(old, {**old, "metadata": {"name": "twin"}})


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    yield from run_laptop(tmp_path_factory.mktemp("laptop"), 18800)


@pytest.fixture(autouse=True)
def _clean(request):
    yield
    if "laptop" in request.fixturenames:
        request.getfixturevalue("laptop").delete_all()


def percents(laptop):
    return {c["name"]: (c["ready"], c["trafficPercent"]) for c in laptop.status("twin").get("canaryStatuses", [])}


def answers(url, count=200):
    seen = {}
    for _ in range(count):
        status, body, headers = ask(url)
        key = (status, body.get("answer"), headers["x-sluice-revision"])
        seen[key] = seen.get(key, 0) + 1
    return seen


def change(laptop, stable, *canaries):
    live = laptop.api.get_namespaced_custom_object(GROUP, *ISVC, "twin")
    live["spec"] = service(stable, *canaries)["spec"]
    laptop.api.replace_namespaced_custom_object(GROUP, *ISVC, "twin", live)


def test_a_canary_beside_stable_is_weighed_promoted_without_a_restart_and_a_template_rolls(laptop):
    old, new = laptop.model("old"), laptop.model("new")
    laptop.api.create_namespaced_custom_object(GROUP, *ISVC, service(predictor(old)))
    status = laptop.wait("twin", "Ready", "True")
    url, address = status["url"], status["address"]["url"]
    assert (status["deploymentMode"], address.rpartition("/")[2]) == ("Standard", "twin-predictor")
    change(laptop, predictor(old), (20, predictor(new, "v2")))
    laptop.wait("twin", "CanaryPredictorReady", "True")
    assert percents(laptop) == {"v2": (True, 20)}
    own = address.replace("twin-predictor", "twin-v2-predictor")
    assert answers(own, 2) == {(200, "new", "twin-v2-predictor"): 2}
    assert ask(own, "/v1/models/twin:predict", b"die")[0] == 503, "a Service hides no crash"
    wait_for(lambda: answers(own, 1) == {(200, "new", "twin-v2-predictor"): 1})
    assert answers(url, 100) == {(200, "old", "twin-predictor"): 80, (200, "new", "twin-v2-predictor"): 20}

    async def under_load(*steps):
        asking = asyncio.create_task(load(url, seconds=1.2))
        for step in steps:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(change, laptop, *step)
        return await asking

    seen = asyncio.run(under_load((predictor(old), (100, predictor(new, "v2"))), (predictor(new, "v2"),)))
    assert {status for status, _ in seen} == {200}
    assert percents(laptop) == {}
    assert answers(url, 3) == {(200, "new", "twin-v2-predictor"): 3}
    logs = sorted(path.name for path in (laptop.home / "logs").glob("twin-v2-*"))
    assert len(logs) == 1, "promotion keeps the pods"

    seen = asyncio.run(under_load((predictor(old, "v2"),)))  # another template: rolled while the old one answers
    assert {status for status, _ in seen} == {200}
    wait_for(lambda: answers(url, 1) == {(200, "old", "twin-v2-predictor"): 1})
    assert laptop.wait("twin", "Ready", "True")["observedGeneration"] == 2

    other = {"metadata": {"annotations": {next(iter(NOTES)): "Knative"}}, "spec": {"canary": None}}
    with pytest.raises(client.ApiException, match="cannot be changed from 'Standard' to 'Knative'"):
        laptop.api.patch_namespaced_custom_object(GROUP, *ISVC, "twin", other)


def test_a_graphs_step_by_name_goes_past_the_split_and_dangles_after_a_promotion_and_one_by_url_holds(laptop):
    old, new = laptop.model("old"), laptop.model("new")
    laptop.api.create_namespaced_custom_object(GROUP, *ISVC, service(predictor(old)))
    url = laptop.wait("twin", "Ready", "True")["url"]

    def graph(name, mode="Standard", **target):
        spec = {"nodes": {"root": {"routerType": "Sequence", "steps": [target]}}}
        meta = {"name": name, "annotations": {next(iter(NOTES)): mode}}
        laptop.api.create_namespaced_custom_object(GROUP, *GRAPHS, {"metadata": meta, "spec": spec})
        return told(name)["url"]

    def told(name):
        return laptop.api.get_namespaced_custom_object(GROUP, *GRAPHS, name)["status"]

    def said(place):
        return {ask(place, "/", b'{"instances": [1]}')[1].get("predictions", [{}])[0].get("text") for _ in range(20)}

    peers = laptop.info.api + "/peers"
    by_name, by_url = graph("by-name", serviceName="twin"), graph("by-url", serviceUrl=f"{url}/v1/models/twin:predict")
    graph("by-service", serviceUrl=f"{peers}/twin-predictor/v1/models/twin:predict")
    graph("by-split", serviceUrl=f"{peers}/twin/v1/models/twin:predict")
    graph("serverless", "Knative", serviceName="twin")
    assert condition(told("serverless"), "Ready")["reason"] == "ServerlessModeRejected"
    change(laptop, predictor(old), (50, predictor(new, "v2")))
    laptop.wait("twin", "CanaryPredictorReady", "True")
    assert (said(by_name), said(by_url)) == ({"old"}, {"old", "new"})
    change(laptop, predictor(new, "v2"))
    wait_for(lambda: said(by_name) == {None})
    for name in ("by-name", "by-service"):
        wait_for(lambda name=name: condition(told(name), "Ready")["status"] == "False")
        assert condition(told(name), "Ready")["reason"] == "ServiceGone"
        assert "the Service twin-predictor, which is not there" in condition(told(name), "Ready")["message"]
    assert [condition(told(name), "Ready")["status"] for name in ("by-url", "by-split")] == ["True", "True"]
    assert (said(by_url), told("by-url")["deploymentMode"]) == ({"new"}, "Standard")
    with urllib.request.urlopen(f"{by_url}/") as page:
        assert page.url == f"{url}/"
    for name in ("by-name", "by-url", "by-service", "by-split", "serverless"):
        laptop.api.delete_namespaced_custom_object(GROUP, *GRAPHS, name)


@pytest.mark.e2e
def test_a_canary_that_never_starts_gets_nothing_and_a_restart_changes_nothing(laptop):
    old = laptop.model("old")
    laptop.api.create_namespaced_custom_object(GROUP, *ISVC, service(predictor(old, "v2")))
    url = laptop.wait("twin", "Ready", "True")["url"]
    broken = laptop.model("broken")
    Path(broken.removeprefix("file://"), "answer.txt").unlink()
    change(laptop, predictor(old, "v2"), (50, predictor(broken, "v3")))
    status = wait_for(lambda: (s := laptop.status("twin")) and "Failed" in str(s["canaryStatuses"]) and s)
    assert status["canaryStatuses"][0]["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert (percents(laptop), condition(status, "Ready")["status"]) == ({"v3": (False, 50)}, "True")
    assert condition(status, "CanaryPredictorReady")["reason"] == "CanariesNotReady"
    assert answers(url, 20) == {(200, "old", "twin-v2-predictor"): 20}
    assert laptop.stop() == 0
    laptop.start()
    laptop.wait("twin", "Ready", "True")
    assert answers(url, 20) == {(200, "old", "twin-v2-predictor"): 20}
