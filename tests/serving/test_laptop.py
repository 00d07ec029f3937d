"""KServe's life of an InferenceService on a laptop: the real clients, a control plane and predictors as processes."""

import asyncio
import io
import json
import urllib.request

import aiohttp
import kserve
import pytest
from kubernetes import client
from laptop_driver import GRAPHS, GROUP, ISVC, ask, condition, load, run_laptop, service, wait_for


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    yield from run_laptop(tmp_path_factory.mktemp("laptop"), 18500)


@pytest.fixture(autouse=True)
def _clean(laptop):
    yield
    laptop.delete_all()


def test_kserve_client_creates_waits_patches_replaces_and_deletes(laptop):
    kube = kserve.KServeClient(config_file=str(laptop.info.kubeconfig))
    model = kserve.V1beta1ModelSpec(
        model_format=kserve.V1beta1ModelFormat(name="tiny"), runtime="tiny", storage_uri=laptop.model("a")
    )
    isvc = kserve.V1beta1InferenceService(
        api_version=f"{GROUP}/v1beta1",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(name="viakserve", namespace="default"),
        spec=kserve.V1beta1InferenceServiceSpec(predictor=kserve.V1beta1PredictorSpec(model=model)),
    )
    kube.create(isvc)
    kube.wait_isvc_ready("viakserve", "default", timeout_seconds=15, polling_interval=0.1, expected_generation=1)
    isvc.spec.predictor.model.storage_uri, isvc.spec.predictor.canary_traffic_percent = laptop.model("b"), 20
    kube.patch("viakserve", isvc)
    wait_for(lambda: laptop.shares("viakserve") == {"00002": 20, "00001": 80})
    assert kube.is_isvc_ready("viakserve", "default", expected_generation=2)
    isvc.spec.predictor.canary_traffic_percent = None
    isvc.metadata.resource_version = None
    kube.replace("viakserve", isvc)
    kube.wait_isvc_ready("viakserve", "default", watch=True, timeout_seconds=10)
    assert laptop.shares("viakserve") == {"00002": 100}
    kube.delete("viakserve", "default")
    with pytest.raises(RuntimeError, match="not found"):
        kube.get("viakserve", "default")


def test_canary_gets_its_tenth_and_promotion_under_load_loses_nothing(laptop):
    url = laptop.create("canary", laptop.model("old"))
    laptop.patch("canary", canaryTrafficPercent=10, model={"storageUri": laptop.model("new")})
    wait_for(lambda: laptop.shares("canary") == {"00002": 10, "00001": 90})
    seen = asyncio.run(load(url, count=1200))
    assert {status for status, _ in seen} == {200}
    assert 0.09 < seen[200, "2"] / seen.total() < 0.11
    direct = laptop.addresses("canary")
    assert [ask(direct[tag])[1]["answer"] for tag in ("latest", "prev")] == ["new", "old"]

    async def promote():
        asking = asyncio.create_task(load(url, seconds=1.5))
        await asyncio.sleep(0.4)
        await asyncio.to_thread(laptop.patch, "canary", canaryTrafficPercent=None)
        return await asking

    seen = asyncio.run(promote())
    assert {status for status, _ in seen} == {200} and seen[200, "2"] and seen[200, "1"]
    status = laptop.status("canary")["components"]["predictor"]
    assert status["latestRolledoutRevision"] == "canary-predictor-00002"
    assert status["previousRolledoutRevision"] == "canary-predictor-00001"
    wait_for(lambda: refuses(direct["prev"]))  # drained, and its process gone


def refuses(url: str) -> bool:
    try:
        ask(url)
    except aiohttp.ClientError as error:
        return isinstance(error, aiohttp.ClientConnectorError)
    return False


def test_a_request_under_way_at_the_switch_is_still_answered(laptop):
    url = laptop.create("slow", laptop.model("old"))

    async def switch():
        asking = asyncio.create_task(asyncio.to_thread(ask, url, "/predict?sleep=2"))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(laptop.patch, "slow", model={"storageUri": laptop.model("new")})
        await asyncio.to_thread(wait_for, lambda: laptop.shares("slow") == {"00002": 100})
        return asking.done(), await asking

    done, (status, body, headers) = asyncio.run(switch())
    assert (status, body["answer"], headers["x-sluice-revision"]) == (200, "old", "slow-predictor-00001")
    assert not done  # so the switch did happen meanwhile


def test_rollback_in_kserves_order_never_shows_the_bad_revision_again(laptop):
    good = laptop.model("good")
    url = laptop.create("back", good)
    laptop.patch("back", canaryTrafficPercent=50, model={"storageUri": laptop.model("bad")})
    wait_for(lambda: laptop.shares("back") == {"00002": 50, "00001": 50})
    laptop.patch("back", canaryTrafficPercent=0)
    assert set(asyncio.run(load(url, count=100))) == {(200, "1")}
    laptop.patch("back", model={"storageUri": good})
    wait_for(lambda: laptop.shares("back") == {"00003": 0, "00001": 100})
    laptop.patch("back", canaryTrafficPercent=None)
    assert laptop.shares("back") == {"00003": 100}
    assert set(asyncio.run(load(url, count=100))) == {(200, "3")}


def test_bodies_stream_both_ways(laptop):
    url = laptop.create("stream", laptop.model("x"))

    async def pieces():
        for _ in range(160):
            yield b"x" * (1 << 16)

    async def echo():
        async with aiohttp.ClientSession() as session, session.post(f"{url}/stream", data=pieces()) as answer:
            return answer.status, len(await answer.read()), answer.headers["x-sluice-revision"]

    assert asyncio.run(echo()) == (200, 160 << 16, "stream-predictor-00001")


def test_a_graph_is_made_by_kserves_client_waits_for_its_services_and_chains_them(laptop):
    kube = kserve.KServeClient(config_file=str(laptop.info.kubeconfig))
    first = kserve.V1alpha1InferenceStep(name="one", service_name="one", dependency="Hard")
    then = kserve.V1alpha1InferenceStep(service_name="two", data="$response", map_predictions_to_instances=True)
    root = kserve.V1alpha1InferenceRouter(router_type="Sequence", steps=[first, then])
    kube.create_inference_graph(
        kserve.V1alpha1InferenceGraph(
            api_version=f"{GROUP}/v1alpha1",
            kind="InferenceGraph",
            metadata=client.V1ObjectMeta(name="chain", namespace="default"),
            spec=kserve.V1alpha1InferenceGraphSpec(nodes={"root": root}),
        )
    )
    url = laptop.create("one", laptop.model("said"))
    found = kube.get_inference_graph("chain", "default")["status"]
    assert condition(found, "Ready")["message"] == "waits for InferenceService two"
    assert ask(found["url"])[0] == 503
    laptop.create("two", laptop.model("told"))
    kube.wait_ig_ready("chain", "default", timeout_seconds=10, polling_interval=0.05)
    status, body, headers = ask(found["url"], "/", json.dumps({"instances": [1]}).encode())
    assert (status, body) == (200, {"predictions": [{"text": "told", "asked": ["instances"]}]})
    assert headers["x-sluice-revision"] == "two-predictor-00001"
    page = urllib.request.urlopen(f"{found['url']}/")  # the first service's, and from its own address
    peers = json.load(page)["peers"]
    assert page.url == f"{url}/"
    assert ask(peers.format(name="two"), "/v1/models/two:predict", b"{}")[1]["predictions"][0]["text"] == "told"
    assert ask(peers.format(name="chain"), "/", b"{}")[1]["predictions"][0]["text"] == "told"
    assert ask(peers.format(name="nobody"), "/", b"{}")[0] == 503
    alone = {"spec": {"nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceName": "one"}]}}}}
    laptop.api.patch_namespaced_custom_object(GROUP, *GRAPHS, "chain", alone)
    status, body, _ = ask(found["url"], "/any/path", io.BytesIO(b"\0" * 40_000_000))
    assert (status, body["predictions"][0]["asked"]) == (200, ["application/octet-stream", 40_000_000])
    kube.delete_inference_graph("chain", "default")
    wait_for(lambda: refuses(found["url"]), seconds=5)


def test_the_api_refuses_as_kubernetes_does(laptop):
    api = laptop.api
    api.create_namespaced_custom_object(GROUP, *ISVC, service("api", laptop.model("x")))

    def refused(call, *args):
        with pytest.raises(client.ApiException) as caught:
            call(GROUP, *ISVC, *args)
        return caught.value.status, json.loads(caught.value.body)["message"]

    assert refused(api.create_namespaced_custom_object, service("api", "file:///x"))[0] == 409
    assert refused(api.get_namespaced_custom_object, "nobody")[0] == 404
    code, message = refused(
        api.patch_namespaced_custom_object, "api", {"spec": {"predictor": {"canaryTrafficPercent": 150}}}
    )
    assert code == 422 and "spec.predictor.canaryTrafficPercent: 150 is not within 0..100" in message
    stale = api.get_namespaced_custom_object(GROUP, *ISVC, "api")
    laptop.patch("api", canaryTrafficPercent=5)
    code, message = refused(api.replace_namespaced_custom_object, "api", stale)
    assert code == 409 and "the object has been modified" in message
    operations = [{"op": "remove", "path": "/spec/predictor/canaryTrafficPercent"}]
    assert refused(api.patch_namespaced_custom_object, "api", operations)[0] == 400  # sent as a merge patch
    api.api_client.set_default_header("Content-Type", "application/json-patch+json")
    try:
        patched = api.patch_namespaced_custom_object(GROUP, *ISVC, "api", operations)
    finally:
        del api.api_client.default_headers["Content-Type"]
    assert "canaryTrafficPercent" not in patched["spec"]["predictor"]
