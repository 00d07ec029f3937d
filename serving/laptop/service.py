"""One InferenceService in Knative mode, made true: its revisions run, its router splits, its status tells."""

import logging
from typing import Any

from serving.laptop.controller import Controller
from serving.laptop.rules import Revisions, Target, settle
from serving.laptop.status import View, status
from serving.laptop.store import Object
from serving.laptop.template import RuntimeMissing, digest, revision_template

log = logging.getLogger("sluice.laptop")


class Service(Controller):
    """An InferenceService in Knative mode: numbered revisions behind one router."""

    _applied: tuple[Target, ...] = ()

    def _fresh(self) -> dict[str, Any]:
        return {"count": 0, "revisions": {}, "names": {}}

    def sync(self) -> None:
        """Bring processes, traffic and status in line with the object. OSError when the status cannot be saved."""
        obj = self._store.get(self.key)
        problem: RuntimeMissing | None = None
        runtime = ""
        try:
            runtimes = self._store.select("servingruntimes", self.key.namespace)
            template = revision_template(obj, runtimes)
            runtime = template["runtime"]
            self._create_revision(template)
        except RuntimeMissing as error:
            problem = error
        predictor = obj["spec"]["predictor"]
        tags = (obj["metadata"].get("annotations") or {}).get("serving.kserve.io/enable-tag-routing") == "true"
        revisions, wanted = settle(self._newest_ready(), predictor.get("canaryTrafficPercent"), tags)
        self._record["names"] = vars(revisions)
        self._start(revisions, wanted)
        waiting = self._route(wanted)
        self._stop_unneeded(revisions, wanted)
        view = View(
            obj["metadata"]["generation"], self.url, revisions, self._applied, self._predictors, waiting, problem,
            self._closed, runtime,
        )  # fmt: skip
        old = obj.get("status", {})
        self._set_status(old, status(view, old))

    def _create_revision(self, template: Object) -> None:
        """A template that differs from the newest revision's makes the next revision, numbered as Knative does."""
        record = self._record
        created = record["names"].get("created", "")
        if created and record["revisions"][created]["digest"] == digest(template):
            return
        record["count"] += 1
        name = f"{self.key.name}-predictor-{record['count']:05d}"
        record["revisions"][name] = {"digest": digest(template), "template": template, "ready": False}
        record["names"] = {**record["names"], "created": name}
        log.info("%s: revision %s created", self.key.name, name)

    def _newest_ready(self) -> Revisions:
        """The names, with ``ready`` moved to the newest revision once that is ready; it never moves back."""
        names = Revisions(**self._record["names"])
        for name, predictor in self._predictors.items():
            if predictor.was_ready:
                self._record["revisions"][name]["ready"] = True
        newest = self._record["revisions"].get(names.created, {})
        return (
            Revisions(names.created, names.created, names.rolled_out, names.previous) if newest.get("ready") else names
        )

    def _needed(self, revisions: Revisions, wanted: tuple[Target, ...]) -> set[str]:
        """Revisions that must run: those with a place in the traffic, now or next, and the newest."""
        needed = {t.revision for t in (*wanted, *self._applied)}
        return needed | ({revisions.created} if revisions.created else set())

    def _start(self, revisions: Revisions, wanted: tuple[Target, ...]) -> None:
        for name in self._needed(revisions, wanted) - self._predictors.keys():
            revision = self._record["revisions"][name]
            self._predictors[name] = self._run(name, name, revision["template"], revision["ready"])

    def _route(self, wanted: tuple[Target, ...]) -> tuple[str, ...]:
        """Switch the router to what is wanted; wait with it while a revision that is new to the traffic is not ready.

        Returns the revisions waited for. After a restart there is nothing to hold on to, so the table is set at once.
        """
        held = {t.revision for t in self._applied}
        new = {t.revision for t in wanted if t.percent} - held
        waiting = sorted(n for n in new if self._predictors[n].state != "ready")
        if self._applied and waiting:
            return tuple(waiting)
        if wanted != self._applied:
            log.info(
                "%s: traffic %s", self.key.name, ", ".join(f"{t.revision} {t.percent} %" for t in wanted) or "none"
            )
        self._applied = wanted
        shares: dict[str, int] = {}
        for target in wanted:
            shares[target.revision] = shares.get(target.revision, 0) + target.percent
        self.front.route({n: self._predictors[n].upstream for n in shares}, shares)
        return ()

    def _stop_unneeded(self, revisions: Revisions, wanted: tuple[Target, ...]) -> None:
        for name in self._predictors.keys() - self._needed(revisions, wanted):
            log.info("%s: draining %s", self.key.name, name)
            self._stop(self._predictors.pop(name))
        remembered = self._needed(revisions, wanted) | set(vars(revisions).values())
        self._record["revisions"] = {n: r for n, r in self._record["revisions"].items() if n in remembered}
