"""What a rollout does next, from what the live object says, and what it writes; the same in both of KServe's modes."""

import copy
import itertools
import json
from dataclasses import fields

import pytest
import yaml

from components.rollout import standard
from components.rollout.decide import Move, decide
from components.rollout.manifests import BASE, read_manifests
from components.rollout.modes import first, fitting, observe, promoted, with_canary, with_percent, with_previous
from components.rollout.objects import HISTORY, ServedRelease
from components.rollout.settings import RolloutSettings, ServingSettings
from manifests.check.schema import schema_errors
from serving.contract.errors import SluiceError
from serving.contract.modes import deployment_mode
from serving.contract.task import all_tasks, find_task
from serving.core.limits import Limits
from serving.core.options import _OWN, Options, name_of
from serving.laptop.patch import json_patch
from serving.laptop.standard.rules import workloads
from serving.laptop.template import digest, pod_template
from serving.laptop.validate import validate_change, validate_inference_service

STEPS = (10, 50, 100)
MANIFESTS = read_manifests("codebase")


class Desk:
    """Live objects of one mode, as an API server would keep them."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        found = MANIFESTS.fitting({"metadata": {}, "status": {"deploymentMode": mode}})
        self.service, self.predictor = found.service, found.predictor
        self.made: list[dict] = []

    def release(self, name):
        return ServedRelease(name, name.removeprefix("b"), self.predictor(f"file:///bundles/{name}", "sluice"))

    def live(self, obj, generation=1):
        obj = copy.deepcopy(obj)
        obj["metadata"] |= {"namespace": "default", "generation": generation, "resourceVersion": "7"}
        self.made.append(obj)
        return obj

    def first(self, name):
        return self.live(first(self.service, self.release(name)))

    def at_full(self, name):
        return self.live(promoted(self.first(name)))

    def canary(self, percent, before="b1", name="b2"):
        before = self.at_full(before) if isinstance(before, str) else before
        return self.live(with_canary(before, self.service, self.release(name), percent))

    def restoring(self):
        """A rollback by hand that was killed half way."""
        return self.live(with_previous(self.live(promoted(self.canary(100)))))


@pytest.fixture(params=["Knative", "Standard"])
def desk(request):
    return Desk(request.param)


def move(obj, bundle):
    return decide(observe(obj) if obj else None, bundle, STEPS)


def test_nothing_deployed_is_created():
    assert move(None, "b1").move is Move.CREATE


def test_a_bundle_at_full_traffic_is_left_alone_and_another_starts_a_canary(desk):
    assert move(desk.at_full("b1"), "b1").move is Move.DONE
    assert move(desk.at_full("b1"), "b2").move is Move.START


@pytest.mark.parametrize("percent", STEPS)
def test_a_killed_rollout_is_taken_up_at_its_step(desk, percent):
    decision = move(desk.canary(percent), "b2")
    assert (decision.move, decision.percent) == (Move.RESUME, percent)


def test_a_killed_first_deployment_is_not_taken_for_proven(desk):
    assert move(desk.first("b1"), "b1").move is Move.RESUME


def test_a_killed_rollback_is_finished_from_either_half(desk):
    assert move(desk.canary(0), "b2").move is Move.UNDO
    half = with_previous(desk.canary(0)) if desk.mode == "Knative" else desk.restoring()
    assert move(half, "b2").move is Move.TIDY
    assert observe(half).release.bundle == "b1"


def test_another_rollout_under_way_is_not_disturbed(desk):
    decision = move(desk.canary(10), "b3")
    assert decision.move is Move.REFUSE
    assert "a canary of bundle b2 (version 2) is under way at 10 %" in decision.reason


def test_what_somebody_else_changed_is_left_alone_with_the_reason(desk):
    edited = desk.at_full("b1")
    edited["spec"]["predictor"]["model"]["storageUri"] = "file:///bundles/mine"
    assert "somebody else changed" in move(edited, "b2").reason
    assert move(edited, "b2").move is Move.REFUSE
    assert move(with_percent(desk.canary(10), 33), "b2").move is Move.REFUSE
    assert move(desk.live(desk.service), "b2").move is Move.REFUSE  # made by hand


def test_a_canary_of_somebody_else_or_a_second_one_is_left_alone():
    desk = Desk("Standard")
    own = desk.canary(10)
    theirs = copy.deepcopy(own)
    theirs["spec"]["canary"][0]["predictor"]["annotations"].clear()
    assert "was not rolled out by this project" in move(theirs, "b2").reason
    own["spec"]["canary"].append(own["spec"]["canary"][0])
    assert "it has 2 canaries" in move(own, "b2").reason


def test_a_canary_and_its_rollback_leave_the_object_as_it_was(desk):
    before = desk.at_full("b1")
    back = with_previous(with_percent(desk.canary(50, before), 0))
    back = promoted(back) if observe(back).percent is not None else back
    assert back["spec"] == before["spec"]
    assert observe(back).release == observe(before).release
    assert observe(back).restored is (desk.mode == "Knative")  # in Standard mode it never left
    assert not observe(with_canary(back, desk.service, desk.release("b2"), 10)).restored


def test_a_release_restored_by_hand_is_the_one_that_was_there(desk):
    back = observe(desk.live(promoted(desk.restoring())))
    assert (back.release, back.percent, back.history, back.restored) == (desk.release("b1"), None, (), True)


def test_a_step_changes_nothing_but_the_percent(desk):
    # KServe copies annotations into the revision's template: a changed one would start a new revision at every step.
    before, after = desk.canary(10), with_percent(desk.canary(10), 50)
    assert after["metadata"] == before["metadata"]
    assert observe(after).percent == 50
    assert with_percent(after, 10) == before


def templates(obj) -> dict[str, str]:
    """What runs, by the laptop's reading of KServe's rules: digest of the pods' template by Deployment."""
    runtimes = [MANIFESTS.runtime]
    return {w.name: digest(pod_template(obj, dict(w.predictor), runtimes)) for w in workloads(obj)}


def test_stable_and_canary_keep_their_pods_through_steps_promotion_and_rollback():
    desk = Desk("Standard")
    stable = templates(desk.at_full("b1"))
    assert list(stable) == ["codebase-r-b1-predictor"]
    both = templates(desk.canary(10))
    assert both.items() > stable.items()
    assert templates(desk.canary(50)) == templates(with_percent(desk.canary(10), 0)) == both
    assert templates(promoted(desk.canary(100))).items() == both.items() - stable.items()
    restored = desk.live(promoted(desk.restoring()))
    again = desk.canary(100, restored, "b3")  # after a rollback too, whose mark must not pass on to the next canary
    assert templates(promoted(again)).items() < templates(again).items()
    assert templates(promoted(again))


def test_a_canary_has_fixed_replicas_and_scales_as_its_manifest_says_once_it_is_stable():
    desk = Desk("Standard")
    running = desk.canary(10)
    (canary,) = running["spec"]["canary"]
    assert {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}.isdisjoint(canary["predictor"])
    assert [w.replicas for w in workloads(with_percent(running, 0))] == [1, 1]
    stable = promoted(running)["spec"]["predictor"]
    assert (stable["minReplicas"], stable["maxReplicas"], stable["scaleMetric"]) == (1, 4, "cpu")


def test_what_a_canary_shows_is_read_from_its_own_status():
    desk = Desk("Standard")
    obj = desk.canary(50)
    assert (observe(obj).settled, observe(obj).shares) == (False, ())
    ready = [{"type": "PredictorReady", "status": "True"}, {"type": "IngressReady", "status": "True"}]
    address = {"url": "http://codebase-predictor.default.svc.cluster.local"}
    told = {"name": "r-b2", "ready": False, "trafficPercent": 10}
    obj["status"] = {"conditions": ready, "canaryStatuses": [told], "address": address, "observedGeneration": 99}
    assert not observe(obj).settled
    assert observe(obj).shares == (), "the gateway has no route yet"
    obj["status"]["url"] = "http://codebase-default.example.com"
    told |= {"trafficPercent": 50}
    assert [(s.revision, s.percent) for s in observe(obj).shares] == [("codebase-r-b1-predictor", 100)]
    told |= {"ready": True}
    now = observe(obj)
    assert now.settled
    assert [(s.revision, s.percent, s.url) for s in now.shares] == [
        ("codebase-r-b2-predictor", 50, "http://codebase-r-b2-predictor.default.svc.cluster.local"),
        ("codebase-r-b1-predictor", 50, "http://codebase-r-b1-predictor.default.svc.cluster.local"),
    ]
    assert (now.created, now.rolled_out) == ("codebase-r-b2-predictor", "codebase-r-b1-predictor")


def test_every_object_of_a_rollout_fits_kserve_to_the_letter_and_the_laptop_takes_it(desk):
    desk.live(with_percent(desk.canary(10), 0))
    desk.live(with_previous(desk.canary(0)))
    desk.live(promoted(desk.restoring()))
    assert len(desk.made) > 8
    for obj in desk.made:
        assert schema_errors(obj) == []
        validate_inference_service(obj)


def test_beside_a_canary_a_stable_that_may_rest_keeps_a_replica_and_may_rest_again_without_one():
    desk = Desk("Standard")
    desk.service["spec"]["predictor"]["minReplicas"] = 0
    release = desk.release
    desk.release = lambda name: ServedRelease(name, name[1:], {**release(name).predictor, "minReplicas": 0})
    before = desk.at_full("b1")
    for percent in (0, 10, 100):
        canary = desk.canary(percent, before)
        assert [w.replicas for w in workloads(canary)] == [1, 1], "none of none would never get ready"
    desk.live(with_percent(canary, 0))
    back, on = desk.live(with_previous(canary)), desk.live(promoted(canary))
    assert back["spec"] == before["spec"]
    by_hand = desk.live(with_previous(on))
    assert observe(by_hand).release == observe(before).release
    again = desk.live(promoted(desk.live(with_percent(by_hand, 100))))
    assert [o["spec"]["predictor"]["minReplicas"] for o in (before, on, again)] == [0, 0, 0]
    for old, new in itertools.pairwise(desk.made):
        validate_inference_service(new)
        validate_change(old, new)


def test_the_history_is_bounded_and_newest_first(desk):
    obj = desk.at_full("b0")
    for number in range(1, 9):
        obj = desk.live(promoted(desk.canary(100, obj, f"b{number}")))
    place = obj["metadata"] if desk.mode == "Knative" else obj["spec"]["predictor"]
    assert [r["bundle"] for r in json.loads(place["annotations"][HISTORY])] == ["b7", "b6", "b5", "b4", "b3"]


def test_a_failed_load_is_told_in_one_line(desk):
    obj = desk.at_full("b1")
    message = "the predictor exited with code 2: Traceback\n  File x\n\nValueError: no such model (see /logs/1.log)"
    info = {"reason": "ModelLoadFailed", "message": message}
    obj["status"] = {"modelStatus": {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": info}}
    assert observe(obj).failure == (
        "ModelLoadFailed: the predictor exited with code 2: Traceback … ValueError: no such model (see /logs/1.log)"
    )


def test_the_mode_is_the_variables_or_the_live_objects_or_the_manifests(monkeypatch):
    def mode(service, live=None):
        return deployment_mode(fitting(service, MANIFESTS.runtime, live)[0])

    knative, other = Desk("Knative"), Desk("Standard")
    assert mode(MANIFESTS.service) == "Knative"
    assert mode(MANIFESTS.service, other.at_full("b1")) == "Standard"
    monkeypatch.setenv("SLUICE_DEPLOYMENT_MODE", "Standard")
    monkeypatch.setenv("SLUICE_DOMAIN", "models.example.org")
    assert mode(MANIFESTS.service) == mode(other.service) == "Standard"
    _, runtime = fitting(MANIFESTS.service, MANIFESTS.runtime, None)
    peers = {v["name"]: v["value"] for v in runtime["spec"]["containers"][0]["env"]}["SLUICE_PEERS"]
    assert peers == "http://{name}-{{.Namespace}}.models.example.org"
    with pytest.raises(SluiceError, match="runs in Knative mode and SLUICE_DEPLOYMENT_MODE asks for Standard"):
        mode(MANIFESTS.service, knative.at_full("b1"))
    monkeypatch.setenv("SLUICE_DEPLOYMENT_MODE", "Knative")
    with pytest.raises(SluiceError, match="is for Standard mode, and Knative mode was asked for"):
        mode(other.service)
    monkeypatch.setenv("SLUICE_DEPLOYMENT_MODE", "serverless")
    with pytest.raises(SluiceError, match="'serverless': expected Knative or Standard"):
        mode(MANIFESTS.service)


def test_the_rollout_turns_a_manifest_into_standard_mode_as_the_kustomize_component_does():
    component = yaml.safe_load((BASE.parent / "components" / "standard" / "kustomization.yaml").read_text())
    wanted = MANIFESTS.service
    for patch in component["patches"]:
        if "InferenceService" in patch["target"]["kind"]:
            wanted = json_patch(wanted, yaml.safe_load(patch["patch"]))
    assert standard.adapted(MANIFESTS.service) == wanted


def test_settings_and_manifests_say_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="rising percentages"):
        RolloutSettings(steps=(50, 10, 100))
    with pytest.raises(ValueError, match="rising percentages"):
        RolloutSettings(steps=(10, 150))
    with pytest.raises(SluiceError, match="no InferenceService and no ServingRuntime"):
        read_manifests("codebase", tmp_path)
    monkeypatch.setenv("SLUICE_SERVING_IMAGE", "registry.example.org/serving:1")
    assert read_manifests("codebase").runtime["spec"]["containers"][0]["image"] == "registry.example.org/serving:1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictor": {"canaryTrafficPercent": 150}}, "canaryTrafficPercent: 150 is no percentage"),
        ({"predictor": {"canaryTrafficPercent": "10"}}, "canaryTrafficPercent: '10' is no percentage"),
        ({"canary": [{"trafficPercent": -1}]}, r"canary\[0\].trafficPercent: -1 is no percentage"),
        ({"canary": [{"predictor": {}}]}, r"canary\[0\].trafficPercent: None is no percentage"),
        ({"canary": [{"trafficPercent": 60}, {"trafficPercent": 60}]}, "add up to 120"),
    ],
)
def test_an_impossible_percentage_in_a_manifest_is_an_error_that_names_the_file(change, message, tmp_path):
    wrong = {**MANIFESTS.service, "spec": {**MANIFESTS.service["spec"], **change}}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all([wrong, MANIFESTS.runtime]))
    with pytest.raises(SluiceError, match=f"all.yaml: spec.*{message}"):
        read_manifests("codebase", tmp_path)
    with pytest.raises(SluiceError, match="percent: 101 is no percentage"):
        with_percent(Desk("Standard").canary(10), 101)


def test_every_limit_of_the_server_can_be_said_and_the_server_takes_it():
    limits = {name_of(one.metadata["flag"]) for one in fields(Limits)}
    own = {name_of(one.metadata["flag"]) for task in all_tasks() for one in fields(task.limits)}
    names = set(ServingSettings.model_fields) | own
    assert names == {*limits, *own, *_OWN} - {"model_name", "model_dir", "host", "http_port", "grpc_port"}
    told = ServingSettings(**{name: 3 for name in names}).flags()
    options = Options.parse(["--model-name=m", "--model-dir=/m", *told])
    assert {getattr(options, name) for name in names & set(_OWN)} == {3}
    assert {*vars(options.limits).values(), *options.own.values()} == {3} and options.own.keys() == own
    assert {*vars(options.limits_of(find_task("transcription"))).values()} == {3}


@pytest.mark.parametrize("mode", ["Knative", "Standard"])
def test_what_is_said_of_serving_takes_the_place_of_the_manifests_own(mode, monkeypatch):
    monkeypatch.setenv("SLUICE_DEPLOYMENT_MODE", mode)
    plain = read_manifests("lectures-highlights")
    told = plain.with_flags(ServingSettings(deadline=20, max_batch=4).flags()).fitting(None)
    args = told.predictor("file:///bundle", "sluice")["model"]["args"]
    assert args == ["--max-body=16000000", "--max-batch=4", "--deadline=20.0"]
    assert plain.service["spec"]["predictor"]["model"]["args"] == ["--max-body=16000000", "--deadline=50"]
    assert plain.with_flags([]).service == plain.service
    served = ServedRelease("bundle", "1", plain.predictor("file:///bundle", "sluice"))
    assert plain.outdated(served) == ""
    assert "--max-batch=4 --deadline=20.0 come with the next bundle" in told.outdated(served)
