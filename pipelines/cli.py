"""The command line `sluice`. Every command imports what it needs when it runs, so that help is instant."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import click
import typer

from pipelines import corrections
from pipelines.remote import commands
from pipelines.systems import known, systems
from serving.contract.errors import SluiceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Pipelines from raw sources to a KServe endpoint; no model reaches users without passing measured gates.",
)
app.add_typer(commands)
SYSTEMS = systems()
ANSWERING = [name for name, system in SYSTEMS.items() if system.answers]
DEMOS = [name for name in ANSWERING if SYSTEMS[name].questions]
ENDPOINTS = [endpoint.name for system in SYSTEMS.values() for endpoint in system.endpoints]
System = Annotated[str, typer.Argument(help=f"The system: {', '.join(SYSTEMS)}.")]
Endpoint = Annotated[str, typer.Argument(help=f"An endpoint: {', '.join(ENDPOINTS)}.")]


def _environment() -> None:
    """Telemetry of every tool off, one place for state, thread counts set: before anything heavy is imported."""
    from serving.contract.files import home

    root = home()
    os.environ["SLUICE_HOME"] = str(root)
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "FEAST_USAGE": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "KFP_DISABLE_EXECUTION_CACHING_BY_DEFAULT": "false",
        "KUBECONFIG": str(root / "serving" / "kubeconfig"),
    }.items():
        os.environ.setdefault(name, value)


@app.command()
def run(
    system: System,
    source: Annotated[
        str,
        typer.Option(help=" ".join(f"{name}: {system.source.help}." for name, system in SYSTEMS.items())),
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Every file of the source, not only its core part.")] = False,
    base_model: Annotated[
        str,
        typer.Option(
            help="Model to start from: a Hugging Face id such as openai/whisper-small, a directory, or what comes with "
            f"the project ({', '.join(f'{system.base_model} for {name}' for name, system in SYSTEMS.items())})."
        ),
    ] = "",
    settings: Annotated[Path | None, typer.Option(help="YAML of settings in place of the system's own.")] = None,
    port: Annotated[int, typer.Option(help="First port of the endpoint, when this command has to start one.")] = 8080,
) -> None:
    """Run a pipeline to promoted endpoints, or to the gate that refuses (exit code 3); what is unchanged is kept."""
    from pipelines.laptop import release_on_laptop

    if settings:
        os.environ["SLUICE_SETTINGS"] = str(settings.resolve())
    with release_on_laptop(system, SYSTEMS[known(system)].arguments(source, full, base_model), port) as passed:
        if not passed:
            raise typer.Exit(3)


@app.command()
def demo(
    system: Annotated[str, typer.Argument(help=f"The system: {', '.join(DEMOS)}.")] = DEMOS[0],
    port: Annotated[int, typer.Option(help="First port of the endpoint.")] = 8080,
) -> None:
    """Run a system on its default source, ask its questions, and keep serving while a person watches."""
    from pipelines.client import ask_and_print, endpoint_url
    from pipelines.laptop import release_on_laptop, wait_for_interrupt

    asked = SYSTEMS[known(system)]
    with release_on_laptop(system, asked.arguments(), port):
        for question in asked.questions:
            ask_and_print(endpoint_url(asked.answers), asked.answers, question)
        if sys.stdin.isatty():
            wait_for_interrupt()


@app.command()
def serve(port: Annotated[int, typer.Option(help="First port; each endpoint takes the next one.")] = 8080) -> None:
    """Bring up what was promoted on this machine and keep serving until Ctrl-C."""
    from pipelines.laptop import serving_here, wait_for_interrupt

    with serving_here(port):
        wait_for_interrupt()


@app.command()
def ask(
    question: str,
    system: Annotated[str, typer.Option(help=f"The system to ask: {', '.join(ANSWERING)}.")] = ANSWERING[0],
    only: Annotated[str, typer.Option(help="Only from this source: a file's path, a recording's id.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask the live endpoint one question; prints the answer, its sources with file:line or times, the request id."""
    from pipelines.client import ask_and_print, endpoint_url

    model = SYSTEMS[known(system)].answers
    if not model:
        raise SluiceError(f"{system} answers no questions; ask {' or '.join(ANSWERING)}")
    ask_and_print(endpoint_url(model), model, question, as_json, {"path": only} if only else {})


@app.command()
def feedback(
    request_id: str,
    vote: Annotated[str, typer.Argument(help="up or down")],
    correction: Annotated[str, typer.Option(help="What would have been right: words, a path, or a symbol.")] = "",
    system: Annotated[str, typer.Option(help="The endpoint that answered.")] = ENDPOINTS[0],
) -> None:
    """Say whether an answer helped. It becomes a feature of its passages and a labelled row for the next training."""
    from pipelines.client import endpoint_url, post

    body = {"request_id": request_id, "vote": vote} | ({"correction": correction} if correction else {})
    typer.echo(json.dumps(post(f"{endpoint_url(system)}/feedback", body)))


app.add_typer(corrections.app, name="corrections")
for _commands in filter(None, (_system.commands for _system in SYSTEMS.values())):
    app.add_typer(_commands)


@app.command()
def status(endpoint: Endpoint = ENDPOINTS[0]) -> None:
    """Show what is served, by which revision and model version, and the last verdicts."""
    from components.rollout.operate import status as state_of
    from pipelines.client import show_status

    show_status(endpoint, state_of(endpoint))


@app.command()
def rollback(endpoint: Endpoint = ENDPOINTS[0]) -> None:
    """Put the previous model back at 100 %, now, without a pipeline."""
    from components.rollout.operate import rollback as back

    typer.echo(back(endpoint))


def _say(error: SluiceError) -> NoReturn:
    typer.secho(f"error: {error}", fg="red", err=True)
    sys.exit(1)


def main() -> None:
    """Entry point: one sentence instead of a traceback for errors that are the caller's to mend; 130 after Ctrl-C."""
    _environment()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(app(standalone_mode=False))
    except SluiceError as error:
        _say(error)
    except OSError:
        from serving.contract.files import check_writable, home

        try:
            check_writable(home() / "feedback.db", "SLUICE_HOME")  # what most of them come from
        except SluiceError as error:
            _say(error)
        raise
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        typer.secho("stopped; nothing is left running. The same command goes on where this one was.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
