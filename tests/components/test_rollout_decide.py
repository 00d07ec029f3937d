"""What a rollout does next, from what the live object says."""

import copy
import json

import pytest

from components.rollout.decide import Move, decide
from components.rollout.manifests import read_manifests
from components.rollout.objects import (
    HISTORY,
    Release,
    first,
    observe,
    with_canary,
    with_percent,
    with_previous,
)
from components.rollout.settings import RolloutSettings
from serving.errors import SluiceError

STEPS = (10, 50, 100)
MANIFESTS = read_manifests("codebase")


def release(name):
    return Release(name, name.removeprefix("b"), MANIFESTS.predictor(f"file:///bundles/{name}", "sluice"))


def live(obj, generation=1):
    """As an API server would keep it."""
    obj = copy.deepcopy(obj)
    obj["metadata"] |= {"generation": generation, "resourceVersion": "7"}
    return obj


def at_full(name):
    return with_percent(live(first(MANIFESTS.service, release(name))), None)


def canary(percent):
    return live(with_canary(at_full("b1"), MANIFESTS.service, release("b2"), percent))


def move(obj, bundle):
    return decide(observe(obj) if obj else None, bundle, STEPS)


def test_nothing_deployed_is_created():
    assert move(None, "b1").move is Move.CREATE


def test_a_bundle_at_full_traffic_is_left_alone_and_another_starts_a_canary():
    assert move(at_full("b1"), "b1").move is Move.DONE
    assert move(at_full("b1"), "b2").move is Move.START


@pytest.mark.parametrize("percent", STEPS)
def test_a_killed_rollout_is_taken_up_at_its_step(percent):
    decision = move(canary(percent), "b2")
    assert (decision.move, decision.percent) == (Move.RESUME, percent)


def test_a_killed_first_deployment_is_not_taken_for_proven():
    assert move(live(first(MANIFESTS.service, release("b1"))), "b1").move is Move.RESUME


def test_a_killed_rollback_is_finished_from_either_half():
    assert move(canary(0), "b2").move is Move.UNDO
    assert move(with_previous(canary(0)), "b2").move is Move.TIDY


def test_another_rollout_under_way_is_not_disturbed():
    decision = move(canary(10), "b3")
    assert decision.move is Move.REFUSE
    assert "a canary of bundle b2 (version 2) is under way at 10 %" in decision.reason


def test_what_somebody_else_changed_is_left_alone_with_the_reason():
    edited = at_full("b1")
    edited["spec"]["predictor"]["model"]["storageUri"] = "file:///bundles/mine"
    assert "somebody else changed" in move(edited, "b2").reason
    assert move(edited, "b2").move is Move.REFUSE
    assert move(with_percent(canary(10), 33), "b2").move is Move.REFUSE
    made_by_hand = live(MANIFESTS.service)
    assert move(made_by_hand, "b2").move is Move.REFUSE


def test_a_canary_and_its_rollback_leave_the_object_as_it_was():
    before = at_full("b1")
    back = with_percent(with_previous(with_percent(canary(50), 0)), None)
    assert back["spec"] == before["spec"]
    assert observe(back).release == observe(before).release
    assert observe(back).restored
    assert not observe(with_canary(back, MANIFESTS.service, release("b2"), 10)).restored


def test_a_step_changes_nothing_but_the_percent():
    # KServe copies annotations into the revision's template: a changed one would start a new revision at every step.
    before, after = canary(10), with_percent(canary(10), 50)
    assert after["metadata"] == before["metadata"]
    assert after["spec"]["predictor"].pop("canaryTrafficPercent") == 50
    before["spec"]["predictor"].pop("canaryTrafficPercent")
    assert after["spec"] == before["spec"]


def test_the_history_is_bounded_and_newest_first():
    obj = at_full("b0")
    for number in range(1, 9):
        obj = with_percent(live(with_canary(obj, MANIFESTS.service, release(f"b{number}"), 10)), None)
    assert [r["bundle"] for r in json.loads(obj["metadata"]["annotations"][HISTORY])] == ["b7", "b6", "b5", "b4", "b3"]


def test_a_failed_load_is_told_in_one_line():
    obj = at_full("b1")
    message = "the predictor exited with code 2: Traceback\n  File x\n\nValueError: no such model (see /logs/1.log)"
    info = {"reason": "ModelLoadFailed", "message": message}
    obj["status"] = {"modelStatus": {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": info}}
    assert observe(obj).failure == (
        "ModelLoadFailed: the predictor exited with code 2: Traceback … ValueError: no such model (see /logs/1.log)"
    )


def test_settings_and_manifests_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="rising percentages"):
        RolloutSettings(steps=(50, 10, 100))
    with pytest.raises(SluiceError, match="no InferenceService and no ServingRuntime"):
        read_manifests("codebase", tmp_path)
