"""One InferenceService in Standard mode, made true: a Deployment a predictor, the route, the status."""

import logging
from typing import Any

from serving.laptop.controller import Controller
from serving.laptop.predictor import Predictor
from serving.laptop.router import Upstream
from serving.laptop.standard.rules import Workload, weights, workloads
from serving.laptop.standard.status import Deployed, View, status
from serving.laptop.store import Object
from serving.laptop.template import RuntimeMissing, digest, pod_template

log = logging.getLogger("sluice.laptop")


class StandardService(Controller):
    """An InferenceService in Standard mode.

    A changed pod template is a rolling update of its Deployment: the old process answers until the new one is ready.
    Each template is a set of its own, as a ReplicaSet is in Kubernetes, and runs as one process.
    """

    _weights: dict[str, int] = {}

    def _fresh(self) -> dict[str, Any]:
        return {"deployments": {}}

    @property
    def _deployments(self) -> dict[str, dict[str, Any]]:
        """By workload: how often its template changed, the sets by name, the newest, and the one that answers."""
        deployments: dict[str, dict[str, Any]] = self._record["deployments"]
        return deployments

    def workload(self, name: str) -> Upstream | None:
        """The process that answers for the Deployment ``name``, or will once it is ready."""
        known = self._deployments.get(name)
        predictor = known and (self._predictors.get(known["serving"]) or self._predictors.get(known["newest"]))
        return predictor.upstream if predictor else None

    def sync(self) -> None:
        """Bring processes, traffic and status in line with the object. OSError when the status cannot be saved."""
        obj = self._store.get(self.key)
        wanted = workloads(obj)
        problems = self._apply(obj, wanted)
        self._start(wanted)
        self._roll()
        self._route(wanted)
        self._stop_unneeded(wanted)
        old = obj.get("status", {})
        deployed = tuple(self._deployed(w, problems.get(w.name)) for w in wanted)
        address = f"http://127.0.0.1:{self._store.extra.get('api_port', 0)}/peers/{wanted[0].name}"
        self._set_status(old, status(View(self.url, address, deployed, self._weights, self._closed), old))

    def _apply(self, obj: Object, wanted: tuple[Workload, ...]) -> dict[str, RuntimeMissing]:
        """Note each workload's template, and forget those that are not asked for any more; what cannot be made."""
        problems = {}
        runtimes = self._store.select("servingruntimes", self.key.namespace)
        for workload in wanted:
            try:
                template = pod_template(obj, dict(workload.predictor), runtimes)
            except RuntimeMissing as error:
                problems[workload.name] = error
                continue
            fresh: dict[str, Any] = {"generation": 0, "sets": {}, "newest": "", "serving": ""}
            known = self._deployments.setdefault(workload.name, fresh)
            name = f"{workload.name}-{digest(template)[:8]}"
            if known["newest"] != name:
                known["generation"] += 1
                known["newest"] = name
                known["sets"].setdefault(name, {"template": template, "ready": False})
        names = {w.name for w in wanted}
        self._record["deployments"] = {n: d for n, d in self._deployments.items() if n in names}
        return problems

    def _needed(self, wanted: tuple[Workload, ...]) -> dict[str, str]:
        """Workload by the set that must run for it: the newest, and the one that still answers."""
        running = {w.name for w in wanted if w.replicas}
        found = {n: d for n, d in self._deployments.items() if n in running}
        return {s: name for name, d in found.items() for s in (d["newest"], d["serving"]) if s}

    def _start(self, wanted: tuple[Workload, ...]) -> None:
        for name, workload in self._needed(wanted).items():
            if name not in self._predictors:
                known = self._deployments[workload]["sets"][name]
                self._predictors[name] = self._run(workload, name, known["template"], known["ready"])

    def _roll(self) -> None:
        """A Deployment's newest set takes over once it is ready."""
        for known in self._deployments.values():
            newest = self._predictors.get(known["newest"])
            if newest is not None and newest.state == "ready":
                known["serving"] = known["newest"]
                known["sets"] = {known["newest"]: {**known["sets"][known["newest"]], "ready": True}}

    def _answering(self, workload: str) -> Predictor | None:
        known = self._deployments.get(workload)
        return self._predictors.get(known["serving"]) if known else None

    def _route(self, wanted: tuple[Workload, ...]) -> None:
        answering = {w.name: p for w in wanted if w.replicas and (p := self._answering(w.name)) is not None}
        ready = [name for name, predictor in answering.items() if predictor.state == "ready"]
        shares = weights(wanted, ready, self._weights)
        shares = {name: percent for name, percent in shares.items() if name in answering}
        if shares != self._weights:
            log.info("%s: traffic %s", self.key.name, ", ".join(f"{n} {p} %" for n, p in shares.items()) or "none")
        self._weights = shares
        self.front.route({n: answering[n].upstream for n in shares}, shares)

    def _stop_unneeded(self, wanted: tuple[Workload, ...]) -> None:
        for name in self._predictors.keys() - self._needed(wanted).keys():
            log.info("%s: draining %s", self.key.name, name)
            self._stop(self._predictors.pop(name))

    def _deployed(self, workload: Workload, problem: RuntimeMissing | None) -> Deployed:
        known = self._deployments.get(workload.name, {"newest": "", "generation": 0, "sets": {}})
        newest = self._predictors.get(known["newest"])
        runtime = known["sets"].get(known["newest"], {}).get("template", {}).get("runtime", "")
        return Deployed(workload, known["generation"], newest, self._answering(workload.name), problem, runtime)
