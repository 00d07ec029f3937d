"""The commands of the command line that work on a cluster's Kubeflow Pipelines: compile, upload, submit, schedule."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.systems import known, systems
from serving.contract.errors import SluiceError

if TYPE_CHECKING:
    from pipelines.compiling import Compiled

commands = typer.Typer()
SYSTEMS = systems()

System = Annotated[str, typer.Argument(help=f"The system: {', '.join(SYSTEMS)}.")]
Some = Annotated[str, typer.Argument(help=f"One of {', '.join(SYSTEMS)}; default: all.")]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster",
        envvar="SLUICE_CLUSTER",
        help="YAML of what each step gets there, in place of pipelines/cluster.yaml.",
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="YAML of settings in place of the system's own; then a system must be named."),
]
Params = Annotated[
    list[str] | None, typer.Option("--param", help="One of the pipeline's parameters, as name=value; may be repeated.")
]


@commands.command("compile")
def compile_(
    system: Some = "",
    output: Annotated[Path, typer.Option(help="Directory for the YAML.")] = Path("build"),
    profile: Annotated[
        Literal["laptop", "cluster"],
        typer.Option(
            help="laptop: the bare pipeline. cluster: with volumes, secrets, sizes and placement of each step."
        ),
    ] = "laptop",
    cluster: ClusterFile = None,
    settings: SettingsFile = None,
) -> None:
    """Write the pipelines as KFP YAML, ready to upload in the KFP UI."""
    from pipelines.cluster import read_cluster
    from pipelines.compiling import compile_system

    _use(settings, system)
    there = read_cluster(cluster) if profile == "cluster" else None
    for name in _some(system):
        typer.echo(f"wrote {compile_system(name, output / f'{name}.yaml', there).path}")


@commands.command()
def upload(system: Some = "", cluster: ClusterFile = None, settings: SettingsFile = None) -> None:
    """Give Kubeflow Pipelines (KFP_HOST, KFP_NAMESPACE, KFP_TOKEN) the pipelines; what it has already is kept."""
    from pipelines import kubeflow as engine

    _use(settings, system)
    for name in _some(system):
        with _compiled(name, cluster) as (compiled, _):
            kubeflow = engine.connect()
            version = engine.upload(kubeflow, compiled)
            page = kubeflow.link(f"pipelines/details/{version.pipeline_id}/version/{version.version_id}")
            typer.echo(f"{'uploaded' if version.new else 'already there:'} {version.name}, {page}")


@commands.command()
def submit(
    system: System,
    param: Params = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the steps until the run has ended.")] = False,
    cluster: ClusterFile = None,
    settings: SettingsFile = None,
) -> None:
    """Run a pipeline at Kubeflow Pipelines (KFP_HOST, KFP_NAMESPACE, KFP_TOKEN); with --wait, exit code 1 if it fails.

    A source of your own is read anew each time, the one in the image when people have voted since; with --param
    revision=… steps that were done for that revision come from KFP's cache.
    """
    from rich.console import Console

    from pipelines import kubeflow as engine
    from pipelines.follow import follow
    from pipelines.systems import remote_revision

    _use(settings, system)
    given = _parameters(param)
    with _compiled(known(system), cluster) as (compiled, account):
        values = engine.arguments(compiled, {"revision": remote_revision(given.get("source", "")), **given})
        kubeflow = engine.connect()
        version = engine.upload(kubeflow, compiled)
        run_id = engine.submit(kubeflow, version, values, account)
    page = kubeflow.link(f"runs/details/{run_id}")
    typer.echo(f"{version.name} runs: {page}")
    if not wait:
        return
    try:
        follow(kubeflow, run_id, compiled.titles, Console(highlight=False))
    except KeyboardInterrupt:
        typer.echo(f"no longer watched; the run goes on: {page}", err=True)
        raise typer.Exit(130) from None
    typer.echo("the run succeeded; whether its model was promoted is in the step Report")


@commands.command()
def schedule(
    system: System,
    cron: Annotated[str, typer.Option(help='When, in UTC: five fields, such as "0 3 * * 1", or six, seconds first.')],
    param: Params = None,
    cluster: ClusterFile = None,
    settings: SettingsFile = None,
) -> None:
    """Let Kubeflow Pipelines run a pipeline whenever the cron expression says, in place of its schedule before.

    Every run reads its source anew, unless --param revision=… says otherwise.
    """
    from pipelines import kubeflow as engine
    from pipelines.cron import six_fields

    _use(settings, system)
    when = six_fields(cron)
    with _compiled(known(system), cluster) as (compiled, account):
        values = engine.arguments(compiled, {"revision": engine.SCHEDULED_TIME, **_parameters(param)})
        kubeflow = engine.connect()
        version = engine.upload(kubeflow, compiled)
        made = engine.schedule(kubeflow, version, values, account, when)
    typer.echo(f"{version.name} runs at {when!r}: {kubeflow.link(f'recurringrun/details/{made}')}")


def _use(settings: Path | None, system: str) -> None:
    """Let the pipelines read this file; what it says goes into the steps' arguments, so a cluster needs no file."""
    if settings and not system:
        raise SluiceError(f"--settings {settings}: name the system that it is for, {' or '.join(SYSTEMS)}")
    if settings:
        os.environ["SLUICE_SETTINGS"] = str(settings.resolve())


@contextmanager
def _compiled(system: str, cluster: Path | None) -> "Iterator[tuple[Compiled, str]]":
    """The pipeline compiled for the cluster, in a file that is gone afterwards, and the steps' service account."""
    from pipelines.cluster import read_cluster
    from pipelines.compiling import compile_system

    settings = read_cluster(cluster)
    with TemporaryDirectory() as scratch:
        yield compile_system(system, Path(scratch) / f"{system}.yaml", settings), settings.service_account


def _parameters(words: list[str] | None) -> dict[str, str]:
    given = {}
    for word in words or ():
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise SluiceError(f"--param {word}: expected name=value")
        given[name] = value
    return given


def _some(system: str) -> list[str]:
    return [known(system)] if system else list(SYSTEMS)
