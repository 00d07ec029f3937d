"""Talking to what is served: where an endpoint is, one question over HTTP, and the tables people read."""

import json
import os
from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.contract.access import bearer
from serving.contract.errors import SluiceError
from serving.contract.files import home
from serving.contract.verdict import Verdict, read_verdicts

_MEND = "start what was promoted with `sluice serve`, or promote a model with `sluice run`"
_KINDS = {"inferenceservices": "v1beta1", "inferencegraphs": "v1alpha1"}


def _objects(plural: str) -> list[dict[str, Any]]:
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    try:
        config.load_kube_config(os.environ.get("KUBECONFIG"))
        api = client.CustomObjectsApi()
        found = api.list_namespaced_custom_object(
            "serving.kserve.io",
            _KINDS[plural],
            os.environ.get("SLUICE_NAMESPACE", "default"),
            plural,
            _request_timeout=10,
        )
    except (config.ConfigException, HTTPError, client.ApiException) as error:
        raise SluiceError(f"no control plane answers at {os.environ.get('KUBECONFIG')}; {_MEND}") from error
    return list(found["items"])


def services() -> dict[str, str]:
    """Names and addresses of what is served in the namespace: InferenceServices, then InferenceGraphs.

    Raises:
        SluiceError: no control plane answers.
    """
    found = [item for plural in _KINDS for item in _objects(plural)]
    return {item["metadata"]["name"]: str(item.get("status", {}).get("url") or "") for item in found}


def not_ready() -> dict[str, str]:
    """InferenceServices whose condition Ready is not True, by name: what they say of it.

    Raises:
        SluiceError: no control plane answers.
    """
    found = {}
    for item in _objects("inferenceservices"):
        conditions = item.get("status", {}).get("conditions", [])
        ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown"})
        if ready["status"] != "True":
            found[item["metadata"]["name"]] = str(ready.get("message") or "starting")
    return found


def endpoint_url(name: str) -> str:
    """Address of an InferenceService or InferenceGraph, from its status.

    Raises:
        SluiceError: no control plane answers, or nothing of that name is served.
    """
    if url := services().get(name):
        return url
    raise SluiceError(f"nothing is served under the name {name}; {_MEND}")


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST JSON and return the JSON answer.

    Raises:
        SluiceError: the endpoint did not answer, or answered 4xx or 5xx; the sentence is the server's own.
    """
    try:
        answer = httpx.post(url, json=body, headers=bearer(), timeout=30)
    except httpx.HTTPError as error:
        raise SluiceError(f"{url} did not answer ({error}); {_MEND}") from error
    try:
        content = answer.json()
    except ValueError:
        content = {"error": answer.text[:300]}
    if answer.is_error:
        raise SluiceError(f"{url} answered {answer.status_code}: {content.get('error', content)}")
    return dict(content)


def ask_and_print(
    url: str, model: str, question: str, as_json: bool = False, only: Mapping[str, str] | None = None
) -> None:
    """Ask one question and print the answer with confidence, sources by place, revision and request id.

    ``only`` are more fields of the request, such as the path to search.
    """
    instance = {"question": question, "top_k": 3, **(only or {})}
    result = post(f"{url}/v1/models/{model}:predict", {"instances": [instance]})["predictions"][0]
    if as_json:
        print(json.dumps(result))
        return
    console = Console(highlight=False)
    said = "not sure; the nearest sources:" if result["abstained"] else escape(result["answer"])
    console.print(
        f"\n[bold]{escape(question)}[/]\n{said}\n[dim]confidence {result['confidence']:.2f}, "
        f"revision {result['revision']}, request {result['request_id']}[/]"
    )
    for source in result["sources"]:
        console.print(
            f"  {source['score']:7.2f}  {escape(place(source))}  [dim]{escape(source['name'])}[/]", soft_wrap=True
        )


def place(source: Mapping[str, Any]) -> str:
    """Where a source is, for people: a recording and its times, or a file and its line."""
    if source.get("start") is not None:
        return f"{source['path']} {clock(source['start'])}-{clock(source['end'])}"
    return f"{source['path']}:{source['lines'][0]}"


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def last_verdicts(system: str) -> list[Verdict]:
    """What the gates of the last run said, in order; from ``$SLUICE_HOME/reports``, empty before a first run."""
    path = home() / "reports" / f"{system}.verdicts.json"
    return read_verdicts(path) if path.exists() else []


def gates_table(system: str) -> Table:
    """The verdicts of the last run's gates."""
    table = Table("gate", "verdict", "why", title=f"{system}: gates", title_justify="left")
    for verdict in last_verdicts(system):
        table.add_row(verdict.gate, "[green]passed[/]" if verdict.passed else "[red]refused[/]", escape(verdict.reason))
    return table


def show_status(system: str, state: dict[str, Any]) -> None:
    """Print what `components.rollout.operate.status` found, then the last verdicts."""
    console = Console(highlight=False)
    for name, value in state.items():
        console.print(f"{name:<15} {value}", soft_wrap=True)
    console.print(gates_table(system))
