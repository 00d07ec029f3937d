"""``python -m load_tests``: put an endpoint under load and exit with 1 when its SLO is missed."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    import pandas as pd

    from load_tests.plan import LoadPlan
    from load_tests.slo import LoadTest
    from serving.contract.verdict import Verdict

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
out, err = Console(), Console(stderr=True)


@app.command()
def main(
    host: Annotated[str, typer.Option(help="Base URL of the endpoint, e.g. http://127.0.0.1:8080.")],
    model: Annotated[str, typer.Option(help="Name of the model, in the route or the body.")],
    protocol: Annotated[str, typer.Option(help="v1, v2, chat, embeddings or transcriptions.")] = "v1",
    path: Annotated[str, typer.Option(help="Route instead of the protocol's, e.g. /v1/chat/completions.")] = "",
    header: Annotated[
        list[str] | None, typer.Option(help="'Name: value', again for more. A token: in $SLUICE_API_KEY.")
    ] = None,
    slo: Annotated[str, typer.Option(help="SLO file (YAML), or an endpoint's name; the model's without.")] = "",
    questions: Annotated[Path | None, typer.Option(help="YAML, JSON lines or parquet; the SLO file's without.")] = None,
    requests: Annotated[
        Path | None, typer.Option(help="JSON lines, one request each: instance, body, or file; any task.")
    ] = None,
    users: Annotated[int | None, typer.Option(help="Users at once, instead of the SLO file's.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests/s offered; 0: users think between questions.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of the window.")] = None,
    report: Annotated[Path | None, typer.Option(help="Directory for load.html and samples.csv.")] = None,
) -> None:
    """Users ask an endpoint under load; the SLO decides. Exit status 0: kept, 1: missed, 2: could not be tested."""
    from load_tests.asked import asked_questions, read_asked
    from load_tests.plan import LoadPlan, LoadTarget
    from load_tests.protocols import HEADERS_VARIABLE, PROTOCOLS, parse_headers
    from load_tests.slo import judge, own_questions
    from serving.contract.errors import SluiceError

    try:
        if protocol not in PROTOCOLS:
            raise SluiceError(f"protocol {protocol!r}: expected one of {', '.join(PROTOCOLS)}")
        if protocol == "transcriptions" and not requests:
            raise SluiceError("recordings are needed: name a file of requests, --requests FILE")
        test = _test(slo or model, users, rate, seconds)
        os.environ[HEADERS_VARIABLE] = json.dumps(parse_headers(header or []))
        asked = read_asked(requests) if requests else asked_questions(questions) if questions else own_questions(test)
        target = LoadTarget("endpoint", host.rstrip("/"), test.load.users, test.load.rate)
        samples = _run(LoadPlan(model, [target], asked, "", test.load.timeout_s, test.load.seconds, protocol, path))
    except (SluiceError, ValueError) as error:
        err.print(f"[red]{escape(str(error))}[/]")
        sys.exit(2)
    verdict = judge(samples, test.slo)
    _print(samples, verdict)
    if report:
        from load_tests.report import write_report

        out.print(f"report: {write_report(samples, verdict, host, report)}")
    sys.exit(0 if verdict.passed else 1)


def _test(slo: str, users: int | None, rate: float | None, seconds: float | None) -> "LoadTest":
    from load_tests.slo import read_slo

    test = read_slo(slo)
    given = {"users": users, "rate": rate or None if rate is not None else test.load.rate, "seconds": seconds}
    chosen = {name: value for name, value in given.items() if value or name == "rate"}
    load = test.load.model_validate({**test.load.model_dump(), **chosen})
    # Users who think offer no rate of their own, so none can be demanded.
    free = {} if load.rate else {"requests_per_s": 0, "units_per_s": 0}
    return test.model_copy(update={"load": load, "slo": test.slo.model_copy(update=free)})


def _run(plan: "LoadPlan") -> "pd.DataFrame":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from load_tests.run import run_plan

    (target,) = plan.targets
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(f"{target.users} users ask {escape(target.host)}", total=plan.seconds)
        return run_plan(plan, Path(scratch), tick=lambda gone: progress.update(bar, completed=gone))


def _print(samples: "pd.DataFrame", verdict: "Verdict") -> None:
    from rich.table import Table

    from load_tests.report import by_persona

    rows = by_persona(samples)
    table = Table()
    for name in rows[-1]:
        table.add_column(name.replace("_", " "), justify="left" if name == "users" else "right")
    for row in rows:
        values = (row.get(name, "–") for name in rows[-1])
        table.add_row(*(f"{value:g}" if isinstance(value, float) else str(value) for value in values))
    out.print(table)
    out.print(f"[{'green' if verdict.passed else 'red'}]{escape(verdict.reason)}[/]")


if __name__ == "__main__":
    app()
