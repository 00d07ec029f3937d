"""Kubeflow Pipelines through its own client: a version of a pipeline for each digest, runs, schedules."""

import contextlib
import io
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.compiling import Compiled
from serving.contract.errors import SluiceError

PROBE_S = 10.0
SCHEDULED_TIME = "[[ScheduledTime]]"
"""KFP puts the time that a run was due in place of this, in any parameter of a scheduled run."""
LOST = {401: "KFP_TOKEN is missing or has expired", 403: "KFP_TOKEN may not do this in that namespace"}


class Away(SluiceError):
    """KFP does not answer, or not with sense, which may be over in a moment."""


@dataclass(frozen=True)
class Kubeflow:
    """A KFP that answered: its client, its address, and the namespace of runs ("" where KFP has a single user)."""

    client: Any
    host: str
    namespace: str

    def link(self, place: str) -> str:
        """Address of a page of its UI."""
        return f"{self.host}/#/{place}"


@dataclass(frozen=True)
class Version:
    """A version of a pipeline at KFP. new: it was uploaded now, and not found there."""

    pipeline_id: str
    version_id: str
    name: str
    new: bool
    compiled: Compiled


def connect() -> Kubeflow:
    """The KFP that KFP_HOST, KFP_NAMESPACE and KFP_TOKEN name, once it has answered.

    Raises:
        SluiceError: no address is set, nothing listens there, it asks for a token, or it is not KFP.
    """
    host = os.environ.get("KFP_HOST", "").rstrip("/")
    if not host:
        raise SluiceError(
            "KFP_HOST is not set: give it the address of Kubeflow Pipelines, such as http://localhost:8080 after "
            "`kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80`"
        )
    host = host if "://" in host else f"https://{host}"
    token, namespace = os.environ.get("KFP_TOKEN") or None, os.environ.get("KFP_NAMESPACE", "")
    if _probe(host, token) and not namespace:
        raise SluiceError(f"{host} serves several users: set KFP_NAMESPACE to the namespace that runs belong to")
    with spoken(host), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp

        client = kfp.Client(
            host=host,
            namespace=namespace or "kubeflow",
            existing_token=token,
            ssl_ca_cert=os.environ.get("SSL_CERT_FILE"),
        )
    return Kubeflow(client, host, namespace)


def _probe(host: str, token: str | None) -> bool:
    """Whether the KFP at ``host`` serves several users; the kfp client would retry a dead address for long."""
    import httpx

    try:
        answer = httpx.get(
            f"{host}/apis/v2beta1/healthz",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=PROBE_S,
        )
    except httpx.TimeoutException as error:
        raise SluiceError(f"{host} did not answer within {PROBE_S:g} s: is KFP_HOST right, and reachable?") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise SluiceError(f"nothing answers at KFP_HOST={host}: {error}") from error
    if answer.status_code in LOST:
        raise SluiceError(f"{host} refused: {LOST[answer.status_code]} (HTTP {answer.status_code})")
    if answer.is_redirect:
        raise SluiceError(f"{host} asks to sign in (HTTP {answer.status_code}): set KFP_TOKEN to a token it takes")
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
        if answer.is_success and isinstance(health := answer.json(), dict):
            return bool(health.get("multi_user") or health.get("apiServerMultiUser"))
    raise SluiceError(
        f"{host} is not the API of Kubeflow Pipelines: /apis/v2beta1/healthz gave HTTP {answer.status_code} and "
        f"{answer.headers.get('content-type', 'no content')}; check KFP_HOST"
    )


@contextlib.contextmanager
def spoken(host: str) -> Iterator[None]:
    """What the client prints is dropped; what it raises becomes one sentence."""
    import kfp_server_api
    import urllib3

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        if error.status in LOST:
            raise SluiceError(f"{host} refused: {LOST[error.status]} (HTTP {error.status})") from error
        kind = Away if (error.status or 0) >= 500 else SluiceError
        raise kind(f"{host} refused (HTTP {error.status}): {_message(error)}") from error
    except urllib3.exceptions.HTTPError as error:
        raise Away(f"{host} no longer answers: {error}") from error


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _equal(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def upload(kubeflow: Kubeflow, compiled: Compiled) -> Version:
    """See to it that KFP has this very version of a pipeline, named by the digest of its text."""
    client, system, name = kubeflow.client, compiled.system, f"{compiled.system}-{compiled.digest}"
    with spoken(kubeflow.host):
        found = client.list_pipelines(namespace=kubeflow.namespace or None, filter=_equal(system)).pipelines
        pipeline = (found[0] if found else _create(kubeflow, compiled)).pipeline_id
        versions = client.list_pipeline_versions(pipeline, filter=_equal(name)).pipeline_versions
        if versions:
            return Version(pipeline, versions[0].pipeline_version_id, name, False, compiled)
        sent = client.upload_pipeline_version(
            str(compiled.path), name, pipeline_id=pipeline, description=compiled.description
        )
        return Version(pipeline, sent.pipeline_version_id, name, True, compiled)


def _create(kubeflow: Kubeflow, compiled: Compiled) -> Any:
    """A pipeline without versions: uploading the file would name the first one after the pipeline, not its digest."""
    wanted = kubeflow.client.api_models.V2beta1Pipeline(
        name=compiled.system,
        display_name=compiled.system,
        description=compiled.description,
        namespace=kubeflow.namespace or None,
    )
    return kubeflow.client.pipelines.pipeline_service_create_pipeline(wanted)


def arguments(compiled: Compiled, given: Mapping[str, str]) -> dict[str, Any]:
    """Values for a run out of ``name=value`` words: as they are for a text, read as JSON for any other type."""
    if unknown := sorted(set(given) - set(compiled.parameters)):
        raise SluiceError(f"--param {unknown[0]}: no such parameter; there is {', '.join(sorted(compiled.parameters))}")
    values: dict[str, Any] = {}
    for name, text in given.items():
        kind = compiled.parameters[name]["parameterType"]
        try:
            values[name] = text if kind == "STRING" else json.loads(text)
        except json.JSONDecodeError as error:
            raise SluiceError(f"--param {name}={text}: expected a value of type {kind}, as JSON") from error
    return values


def submit(kubeflow: Kubeflow, version: Version, values: Mapping[str, Any], account: str) -> str:
    """Start a run of a version in the system's experiment; returns the run's id."""
    with spoken(kubeflow.host):
        run = kubeflow.client.run_pipeline(
            experiment_id=_experiment(kubeflow, version.compiled),
            job_name=f"{version.compiled.system} {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC",
            params=dict(values),
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            service_account=account,
        )
    return str(run.run_id)


def schedule(kubeflow: Kubeflow, version: Version, values: Mapping[str, Any], account: str, cron: str) -> str:
    """Let a version run whenever ``cron`` (six fields) says, in place of the system's schedule before; returns its id.

    No two of its runs go on at once; runs that were missed are not made up for.
    """
    client, name = kubeflow.client, f"{version.compiled.system} on schedule"
    with spoken(kubeflow.host):
        experiment = _experiment(kubeflow, version.compiled)
        before = client.list_recurring_runs(experiment_id=experiment, filter=_equal(name)).recurring_runs or []
        made = client.create_recurring_run(
            experiment_id=experiment,
            job_name=name,
            description=f"{version.name} at {cron}",
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=dict(values),
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            service_account=account,
        )
        for old in before:
            client.delete_recurring_run(old.recurring_run_id)
    return str(made.recurring_run_id)


def _experiment(kubeflow: Kubeflow, compiled: Compiled) -> str:
    found = kubeflow.client.create_experiment(compiled.system, compiled.description, kubeflow.namespace or None)
    return str(found.experiment_id)
