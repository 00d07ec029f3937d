"""KServe's rules of traffic in Knative mode, as pure functions.

Source, in github.com/kserve/kserve: createKnativeService in
pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go (which targets are asked for) and
PropagateStatus in pkg/apis/serving/v1beta1/inference_service_status.go (which revision counts as rolled out).
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Revisions:
    """The four names KServe keeps per component; "" means none yet."""

    created: str = ""
    ready: str = ""
    rolled_out: str = ""
    previous: str = ""


@dataclass(frozen=True)
class Target:
    """One entry of ``status.components.predictor.traffic``: ``percent`` of all requests go to ``revision``."""

    revision: str
    percent: int
    latest: bool
    tag: str = ""


def split(revisions: Revisions, percent: int | None, tags: bool) -> tuple[Target, ...]:
    """The traffic that KServe asks of Knative.

    "Latest" means the newest revision that ever became ready, so a revision that never does gets nothing. Without
    ``percent`` (canaryTrafficPercent), or before anything was rolled out, the latest takes all; otherwise it takes
    ``percent`` and the last rolled out revision, tagged ``prev``, the rest. ``tags`` adds the tag ``latest``.
    """
    if not revisions.ready:
        return ()
    tag = "latest" if tags else ""
    if percent is None or not revisions.rolled_out:
        return (Target(revisions.ready, 100, True, tag),)
    latest = Target(revisions.ready, percent, True, tag)
    if percent >= 100:
        return (latest,)
    return (latest, Target(revisions.rolled_out, 100 - percent, False, "prev"))


def rolled_out(revisions: Revisions, traffic: tuple[Target, ...]) -> Revisions:
    """Advance ``rolled_out`` once the latest ready revision has 100 %, or take it back when that is undone.

    It is taken back when the latest revision, already rolled out, is given a percentage again: then both targets name
    it, and ``rolled_out`` returns to ``previous``, so that the older revision becomes the ``prev`` target.
    """
    latest = next((t for t in traffic if t.latest and t.revision == revisions.ready), None)
    if latest is None:
        return revisions
    if revisions.rolled_out != revisions.ready:
        if latest.percent == 100:
            return replace(revisions, previous=revisions.rolled_out, rolled_out=revisions.ready)
        return revisions
    whole = sum(t.percent for t in traffic if t.revision == latest.revision) == 100
    if revisions.ready == revisions.created and latest.percent < 100 and whole and revisions.previous:
        return replace(revisions, rolled_out=revisions.previous)
    return revisions


def settle(revisions: Revisions, percent: int | None, tags: bool) -> tuple[Revisions, tuple[Target, ...]]:
    """Apply both rules until nothing changes, as KServe's controller does over successive reconciliations."""
    for _ in range(4):
        traffic = split(revisions, percent, tags)
        after = rolled_out(revisions, traffic)
        if after == revisions:
            break
        revisions = after
    return revisions, split(revisions, percent, tags)
