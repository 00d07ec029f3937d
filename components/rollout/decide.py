"""What to do next with a live InferenceService: a pure function, so a killed rollout can be taken up."""

from dataclasses import dataclass
from enum import Enum

from components.rollout.objects import Observed


class Move(Enum):
    """The next move of a rollout."""

    CREATE = "create the InferenceService"
    START = "start the canary"
    RESUME = "go on at a step"
    DONE = "already at 100 %"
    UNDO = "finish rolling back"
    TIDY = "take the percent away after a rollback"
    REFUSE = "leave it alone"


@dataclass(frozen=True)
class Decision:
    """A move, why, and for RESUME the percent to go on at."""

    move: Move
    reason: str
    percent: int = 0


def decide(now: Observed | None, bundle: str, steps: tuple[int, ...]) -> Decision:
    """Choose the next move for the bundle with content digest ``bundle``; ``now`` is None if nothing is deployed."""
    if now is None:
        return Decision(Move.CREATE, "nothing is deployed yet")
    if now.foreign:
        mend = "put it back, or delete the InferenceService and run again"
        return Decision(Move.REFUSE, f"somebody else changed the InferenceService: {now.foreign}; {mend}")
    ours = now.release.bundle == bundle
    name = f"bundle {now.release.bundle} (version {now.release.version})"
    if now.percent is None:
        return Decision(Move.DONE, f"{name} is already at 100 %") if ours else Decision(Move.START, f"stable is {name}")
    if now.percent == 0:
        if now.restored:
            return Decision(Move.TIDY, f"{name} came back by a rollback that was not finished")
        return Decision(Move.UNDO, f"{name} was being rolled back when its run ended")
    if not ours:
        mend = "wait for it, or end it with `sluice rollback`"
        return Decision(Move.REFUSE, f"a canary of {name} is under way at {now.percent} %; {mend}")
    if now.percent not in steps:
        mend = f"expected one of {list(steps)}; end it with `sluice rollback`"
        return Decision(Move.REFUSE, f"somebody else set canaryTrafficPercent to {now.percent}; {mend}")
    return Decision(Move.RESUME, f"taking up the canary of {name} at {now.percent} %", now.percent)
