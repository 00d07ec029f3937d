"""The objects of the laptop's API server: versions, conflicts, watchers; saved whole to one file on every change."""

import copy
import datetime
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from serving.contract.files import atomic_file

Object = dict[str, Any]


class Key(NamedTuple):
    """Where an object lives; ``plural`` as in the URL, for example inferenceservices."""

    plural: str
    namespace: str
    name: str


class Refused(Exception):
    """A request that Kubernetes would answer with a Status of this ``code`` and ``reason``."""

    def __init__(self, code: int, reason: str, message: str):
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message


class Store:
    """Objects by key, with Kubernetes' bookkeeping: generation counts changes of the spec, resourceVersion all changes.

    ``extra`` is saved beside the objects: ports and revisions, what a cluster would keep in objects of its own.
    A write that cannot be saved raises OSError and changes nothing.
    """

    def __init__(self, path: Path):
        self._path = path
        self._watchers: list[Callable[[str, Key, Object], None]] = []
        state = json.loads(path.read_text()) if path.exists() else {}
        self.version: int = state.get("version", 0)
        self.extra: dict[str, Any] = state.get("extra", {})
        self.objects: dict[Key, Object] = {Key(*row["key"]): row["object"] for row in state.get("objects", [])}

    def save(self) -> None:
        """Write everything to the state file, whole or not at all, for its owner alone (it holds variables)."""
        rows = [{"key": list(key), "object": value} for key, value in self.objects.items()]
        with atomic_file(self._path) as scratch:
            scratch.touch()
            scratch.chmod(0o600)
            scratch.write_text(json.dumps({"version": self.version, "extra": self.extra, "objects": rows}, indent=1))

    def watch(self, callback: Callable[[str, Key, Object], None]) -> Callable[[], None]:
        """Call ``callback(type, key, object)`` on ADDED, MODIFIED and DELETED until the returned function is called."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def get(self, key: Key) -> Object:
        """A copy of the object; Refused 404 if there is none."""
        if key not in self.objects:
            raise Refused(404, "NotFound", f'{key.plural}.serving.kserve.io "{key.name}" not found')
        return copy.deepcopy(self.objects[key])

    def select(self, plural: str, namespace: str = "") -> list[Object]:
        """Copies of all objects of a kind, in one namespace or in all."""
        keys = [k for k in self.objects if k.plural == plural and namespace in ("", k.namespace)]
        return [copy.deepcopy(self.objects[k]) for k in sorted(keys)]

    def create(self, key: Key, obj: Object) -> Object:
        """Add an object; Refused 409 if the name is taken."""
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f'{key.plural}.serving.kserve.io "{key.name}" already exists')
        obj = {k: v for k, v in obj.items() if k != "status"}
        obj["metadata"] = {
            **_writable(obj["metadata"]),
            "name": key.name,
            "namespace": key.namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now(),
            "generation": 1,
        }
        return self._put("ADDED", key, obj)

    def update(self, key: Key, obj: Object) -> Object:
        """Replace spec and metadata, keep the status; Refused 409 when ``obj`` carries a stale resourceVersion."""
        old = self.get(key)
        self._check_version(key, old, obj)
        given = _writable(obj["metadata"])
        kept = {k: old["metadata"][k] for k in ("name", "namespace", "uid", "creationTimestamp", "generation")}
        new = {**obj, "metadata": {**given, **kept}}
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old:
            return old
        new["metadata"]["generation"] += new.get("spec") != old.get("spec")
        return self._put("MODIFIED", key, new)

    def set_status(self, key: Key, status: Object) -> Object:
        """Replace the status alone; no change makes no new resourceVersion."""
        old = self.get(key)
        if old.get("status") == status:
            return old
        return self._put("MODIFIED", key, {**old, "status": copy.deepcopy(status)})

    def delete(self, key: Key) -> Object:
        """Remove an object and return it as it was."""
        gone = self.get(key)
        kept = self.objects.pop(key)
        try:
            self.save()
        except OSError:
            self.objects[key] = kept
            raise
        self._notify("DELETED", key, gone)
        return gone

    def _check_version(self, key: Key, old: Object, new: Object) -> None:
        given = new["metadata"].get("resourceVersion")
        if given and given != old["metadata"]["resourceVersion"]:
            raise Refused(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {key.plural}.serving.kserve.io "{key.name}": the object has been '
                "modified; please apply your changes to the latest version and try again",
            )

    def _put(self, event: str, key: Key, obj: Object) -> Object:
        before, version = self.objects.get(key), self.version
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = obj
        try:
            self.save()
        except OSError:
            self.version = version
            if before is None:
                del self.objects[key]
            else:
                self.objects[key] = before
            raise
        self._notify(event, key, obj)
        return self.get(key)

    def _notify(self, event: str, key: Key, obj: Object) -> None:
        for callback in list(self._watchers):
            callback(event, key, copy.deepcopy(obj))


def now() -> str:
    """The present moment as Kubernetes writes it: UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _writable(metadata: Object) -> Object:
    fields = ("labels", "annotations")
    return {k: copy.deepcopy(metadata[k]) for k in fields if metadata.get(k)}
