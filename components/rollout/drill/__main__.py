"""``python -m components.rollout.drill``: watch broken canaries being rolled back, on a control plane of its own."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from components.rollout.drill.scenes import Result

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


@app.command()
def main(
    system: Annotated[str, typer.Option(help="The endpoint whose bundle is broken.")],
    bundle: Annotated[Path | None, typer.Option(help="A sound bundle; the newest registered one without.")] = None,
    scene: Annotated[
        list[str] | None, typer.Option(help="wrong, slow, crash, 'never ready', sound; all without.")
    ] = None,
    asked: Annotated[Path | None, typer.Option(help="Requests (JSON lines); the last rollout's, or made up.")] = None,
    port: Annotated[int, typer.Option(help="First port for the drill's endpoint.")] = 8580,
) -> None:
    """Break canaries on purpose while users ask; exit with 1 when one is not rolled back in time, or a user notices."""
    from components.rollout.release import asked_before
    from serving.contract.errors import SluiceError

    try:
        if bundle is None and asked is None and asked_before(system).is_file():
            asked = asked_before(system)
        sys.exit(run(_bundle(bundle, system), system, scene or [], port, asked))
    except SluiceError as error:
        console.print(f"[red]{error}[/]")
        sys.exit(2)


def run(bundle: Path, system: str, scenes: list[str], port: int, asked: Path | None = None) -> int:
    """Play the scenes in a home of their own; returns the exit code.

    ``asked``: request rows (JSON lines); without, the bundle's task makes some up.
    """
    from components.rollout.drill.faults import asked_of
    from components.rollout.drill.scenes import Stage, play, settings_of
    from load_tests.asked import read_asked

    settings, rows = settings_of(bundle), read_asked(asked) if asked else asked_of(bundle)
    results = []
    with tempfile.TemporaryDirectory(prefix="sluice-drill-") as place, control_plane(Path(place), port):
        stage = Stage(system, bundle, Path(place) / "bundles", settings, rows)
        for result in play(stage, scenes, lambda text: console.rule(f"[bold]{text}")):
            results.append(result)
    print_results(results)
    return 1 if not results or any(r.fault for r in results) else 0


def print_results(results: "list[Result]") -> None:
    """A table of the scenes, and why each canary ended as it did."""
    out = Console()
    columns = ("canary", "ended", "withdrawn after", "rollout took", "users asked", "stable failed", "canary failed")
    table = Table(*columns, title="Drill", title_justify="left")
    for r in results:
        gone = "–" if r.withdrawn_s is None else f"{r.withdrawn_s:.1f} s"
        ended = f"[{'red' if r.fault else 'green'}]{'promoted' if r.promoted else 'rolled back'}[/]"
        counts = (str(n) for n in (r.requests, r.failed_stable, r.failed_canary))
        table.add_row(r.scene, ended, gone, f"{r.seconds:.1f} s", *counts)
    out.print(table)
    for r in results:
        out.print(f"[bold]{r.scene}[/] {r.fault or 'as it must be'}: {escape(r.reason)}", highlight=False)


@contextmanager
def control_plane(place: Path, port: int) -> Iterator[None]:
    """A laptop's control plane in ``place``, with this process's environment pointing at it; both undone on leaving."""
    from serving.laptop import process

    kept = {name: os.environ.get(name) for name in ("SLUICE_HOME", "KUBECONFIG", "MLFLOW_TRACKING_URI")}
    os.environ["SLUICE_HOME"] = str(place)
    for name in ("KUBECONFIG", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    plane = process.start(place / "serving", port)
    try:
        process.wait_until_up(place / "serving", 30, plane)
        yield
    finally:
        plane.terminate()
        try:
            plane.wait(40)
        finally:
            plane.kill()
            for name, value in kept.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _bundle(given: Path | None, system: str) -> Path:
    from serving.contract.errors import SluiceError
    from serving.contract.files import home

    if given:
        found = [given] if (given / "bundle.json").is_file() else []
    else:
        found = sorted((home() / "bundles" / system).glob("*/bundle.json"), key=lambda p: p.stat().st_mtime)
        found = [path.parent for path in found]
    if not found:
        where = given or home() / "bundles" / system
        raise SluiceError(f"no bundle in {where}: run `make demo` once, or name one with --bundle")
    return found[-1].resolve()


if __name__ == "__main__":
    app()
