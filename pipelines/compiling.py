"""From a pipeline to the YAML that Kubeflow Pipelines takes, plain or with a cluster's settings on every step."""

import hashlib
import importlib
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster import Cluster, on_cluster
from serving.contract.files import atomic_file


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline. digest: SHA-256 (12 hex digits) over its text: code, settings, image, cluster settings.

    titles: the steps' names for people, by the names that KFP gives their tasks. parameters: what a run can be given,
    name to definition (parameterType, defaultValue, description).
    """

    system: str
    path: Path
    digest: str
    description: str
    titles: Mapping[str, str]
    parameters: Mapping[str, Mapping[str, Any]]


def compile_system(system: str, target: Path, cluster: Cluster | None = None) -> Compiled:
    """Compile a system's pipeline to ``target`` (YAML), for ``cluster`` where one is given.

    What only a cluster has (volumes, secrets, placement) is a second document in the file.
    """
    # KFP reads the whole call stack for every setting of every step: a thread of its own has a short one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_compile, system, target, cluster).result()


def _compile(system: str, target: Path, cluster: Cluster | None) -> Compiled:
    from kfp import compiler

    pipeline = getattr(importlib.import_module(f"pipelines.systems.{system}.pipeline"), system)
    if cluster:
        pipeline = _traced_for(pipeline, cluster)
    with atomic_file(target) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = scratch.with_suffix(".yaml")
        compiler.Compiler().compile(pipeline, str(text))
        text.replace(scratch)
    return _read(system, target)


def _traced_for(pipeline: Any, cluster: Cluster) -> Any:
    from kfp import dsl

    info = pipeline.pipeline_spec.pipeline_info
    with on_cluster(cluster):
        return dsl.pipeline(
            name=info.name,
            display_name=info.display_name or None,
            description=f"{info.description}. Runs as the service account {cluster.service_account}.",
            pipeline_root=cluster.pipeline_root or None,
        )(pipeline.pipeline_func)


def _read(system: str, target: Path) -> Compiled:
    text = target.read_text()
    spec = next(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    components = {name for name, component in spec["components"].items() if "executorLabel" in component}
    dags = [spec["root"]["dag"], *(part["dag"] for part in spec["components"].values() if "dag" in part)]
    titles = {
        name: task["taskInfo"]["name"]
        for dag in dags
        for name, task in dag["tasks"].items()
        if task["componentRef"]["name"] in components
    }
    return Compiled(
        system,
        target,
        hashlib.sha256(text.encode()).hexdigest()[:12],
        spec["pipelineInfo"]["description"],
        titles,
        spec["root"]["inputDefinitions"]["parameters"],
    )
