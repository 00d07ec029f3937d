"""The doing: services, runtimes and graphs through the Kubernetes API, wherever the kubeconfig points."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.rollout.modes import observe
from components.rollout.objects import SPEC, Object, Observed, spec_digest
from serving.contract.errors import SluiceError
from serving.contract.files import home

GROUP = "serving.kserve.io"
SERVICES = ("v1beta1", "inferenceservices")
RUNTIMES = ("v1alpha1", "servingruntimes")
GRAPHS = ("v1alpha1", "inferencegraphs")
REQUEST_S = 10.0
POLL_S = 0.2


class SomebodyElse(SluiceError):
    """The object changed under our hands."""


def kubeconfig() -> Path:
    """``$KUBECONFIG``, or the laptop's below ``$SLUICE_HOME``."""
    return Path(os.environ.get("KUBECONFIG") or home() / "serving" / "kubeconfig")


class ClusterClient:
    """One namespace of a cluster or laptop; every error is a SluiceError that says what is wrong and how to mend it.

    The plain Kubernetes client, not kserve's: that takes seconds to import, and its patch cannot take a field away.
    """

    def __init__(self, namespace: str | None = None) -> None:
        """Connect by the kubeconfig, or by the pod's own account inside a cluster."""
        from kubernetes import config
        from kubernetes.client import ApiClient, CustomObjectsApi

        self.namespace = namespace or os.environ.get("SLUICE_NAMESPACE", "default")
        path = kubeconfig()
        if path.is_file():
            self._client = config.new_client_from_config(str(path), persist_config=False)
        elif os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config()
            self._client = ApiClient()
        else:
            raise SluiceError(f"no kubeconfig at {path}: start the laptop's (`sluice serve`), or set KUBECONFIG")
        self._api = CustomObjectsApi(self._client)
        self._where = path if path.is_file() else "in-cluster"

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def find(self, name: str) -> Object | None:
        """The live InferenceService, None where there is none."""
        return self._call("get", SERVICES, name)

    def get(self, name: str) -> Object:
        """The live InferenceService; SluiceError where there is none."""
        live = self.find(name)
        if live is None:
            raise SluiceError(
                f"no InferenceService {name!r} in namespace {self.namespace!r}: nothing was rolled out here yet"
            )
        return live

    def create(self, service: Object) -> Object:
        """Create an InferenceService."""
        return self._must(self._call("create", SERVICES, body=service))

    def delete(self, known: Observed, name: str) -> None:
        """Delete an InferenceService as it was ``known``; no error when it is gone already."""
        live = self.find(name)
        if live is not None:
            _check(known, observe(live), name)
        self._call("delete", SERVICES, name)

    def change(self, known: Observed, name: str, edit: Callable[[Object], Object]) -> Observed:
        """Apply ``edit`` to the live object and replace it; returns what is live then.

        Raises SomebodyElse when its spec is no longer the generation or the release that was ``known``. A status that
        the controller writes between reading and replacing only makes it try again.
        """
        for _ in range(20):
            live = self.get(name)
            now = observe(live)
            _check(known, now, name)
            replaced = self._call("replace", SERVICES, name, body=edit(live))
            if replaced is not None:
                return observe(replaced)
            time.sleep(0.05)
        raise SluiceError(f"InferenceService {name!r} kept changing while it was written to; see `sluice status`")

    def ensure_runtime(self, manifest: Object) -> str:
        """Make sure that a ServingRuntime like the manifest's exists; returns its name.

        A runtime that is there is never changed, since KServe would carry the change into the stable model past every
        gate: one that differs is created beside it, its name followed by a digest of its spec.
        """
        plain, wanted = manifest["metadata"]["name"], spec_digest(manifest)
        for name in (plain, f"{plain}-{wanted}"):
            live = self._call("get", RUNTIMES, name)
            if live is None:
                notes = {**(manifest["metadata"].get("annotations") or {}), SPEC: wanted}
                meta = {**manifest["metadata"], "name": name, "annotations": notes}
                self._call("create", RUNTIMES, body={**manifest, "metadata": meta})
                return str(name)
            # A cluster fills in defaults, so the digest of what was applied is kept beside the spec.
            if (live["metadata"].get("annotations") or {}).get(SPEC, spec_digest(live)) == wanted:
                return str(name)
        return str(name)

    def ensure_graph(self, manifest: Object) -> str:
        """Make sure that an InferenceGraph like the manifest's exists; returns what was done, as "was created"."""
        name, wanted = manifest["metadata"]["name"], spec_digest(manifest)
        notes = {**(manifest["metadata"].get("annotations") or {}), SPEC: wanted}
        meta = {**manifest["metadata"], "annotations": notes}
        live = self._call("get", GRAPHS, name)
        if live is None:
            self._call("create", GRAPHS, body={**manifest, "metadata": meta})
            return "was created"
        if (live["metadata"].get("annotations") or {}).get(SPEC) == wanted:
            return "stands as it should"
        meta["resourceVersion"] = live["metadata"]["resourceVersion"]
        replaced = self._call("replace", GRAPHS, name, body={**manifest, "metadata": meta})
        return "was changed" if replaced else "is being changed by somebody else; left as it is"

    def wait(
        self,
        known: Observed,
        name: str,
        until: Callable[[Observed], bool],
        seconds: float,
        tick: Callable[[float], None] | None = None,
    ) -> Observed:
        """Look until ``until`` holds, KServe gives the revision up or ``seconds`` are over; returns the last look.

        Raises SomebodyElse as soon as the object is no longer the generation or the release that was ``known``.
        """
        began = time.monotonic()
        while True:
            now = observe(self.get(name))
            _check(known, now, name)
            gone = time.monotonic() - began
            if until(now) or gone > seconds or (now.failure and now.seen >= now.generation):
                return now
            if tick:
                tick(gone)
            time.sleep(POLL_S)

    @staticmethod
    def _must(answer: Object | None) -> Object:
        if answer is None:
            raise SomebodyElse("somebody else created the same object at the same time; run again")
        return answer

    def _call(self, verb: str, kind: tuple[str, str], *args: str, body: Object | None = None) -> Object | None:
        """One request; None for 404 and for a conflict (409)."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        version, plural = kind
        rest: list[Any] = [*args] if body is None else [*args, body]
        method = getattr(self._api, f"{verb}_namespaced_custom_object")
        try:
            answer: Object = method(GROUP, version, self.namespace, plural, *rest, _request_timeout=REQUEST_S)
        except ApiException as error:
            if error.status == 404 and verb != "create" or error.status == 409:
                return None
            raise SluiceError(f"{verb} {plural} {' '.join(args)}: {_message(error)}") from error
        except HTTPError as error:
            raise SluiceError(
                f"no answer from the API server that {self._where} names ({type(error).__name__}): is it running? "
                "On a laptop `sluice serve` starts it"
            ) from error
        return answer


def _check(known: Observed, now: Observed, name: str) -> None:
    if (now.generation, now.release.bundle) != (known.generation, known.release.bundle):
        raise SomebodyElse(
            f"somebody else changed InferenceService {name!r} during the rollout (generation {now.generation}, "
            f"not {known.generation}); left as it is, see `sluice status`"
        )


def _message(error: Any) -> str:
    import json

    try:
        return f"{error.status} {json.loads(error.body)['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}"
