"""``sluice corrections``: what listeners propose in place of a transcript's words, and who decides on it."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from serving.contract.errors import SluiceError

app = typer.Typer(no_args_is_help=True, help="List, accept and reject what listeners propose to correct.")
Ids = Annotated[list[str], typer.Argument(help="Ids of corrections, as the list shows them.")]
Reviewer = Annotated[str, typer.Option(help="Your name; it stays on record.")]


@app.command("list")
def show(every: Annotated[bool, typer.Option("--all", help="Also those that are decided.")] = False) -> None:
    """Show corrections that nobody has decided on yet, with their ids."""
    from serving.feedback.reviews import all_corrections

    rows = [one for one in all_corrections() if every or one.state == "proposed"]
    for one in rows:
        by = f" by {_plain(one.reviewer)}" if one.reviewer else ""
        file = f"{_plain(one.name) or 'a recording'} ({one.recording[:12] or 'recording not known'})"
        typer.echo(f"{one.id}  {one.state}{by}  {file}  {one.start:g} to {one.end:g} s")
        typer.echo(f"    said:       {_plain(one.answer)}\n    correction: {_plain(one.correction)}")
    if not rows:
        typer.echo("no corrections" if every else "no corrections wait for a decision")


@app.command()
def accept(
    ids: Ids,
    reviewer: Reviewer,
    recording: Annotated[
        Path | None, typer.Option(help="The recording's file, for corrections from before its digest was kept.")
    ] = None,
    over_reference: Annotated[
        bool, typer.Option("--over-reference", help="They may replace what a human's transcript says there.")
    ] = False,
) -> None:
    """Let corrections teach the next training, where no human's transcript says what is said."""
    from serving.feedback.reviews import decide

    digest = _digest(recording) if recording else ""
    typer.echo(f"accepted {len(decide(ids, 'accepted', reviewer, digest, over_reference))}")


@app.command()
def reject(ids: Ids, reviewer: Reviewer) -> None:
    """Keep corrections out of training; an earlier decision is taken back."""
    from serving.feedback.reviews import decide

    typer.echo(f"rejected {len(decide(ids, 'rejected', reviewer))}")


@app.command("export")
def write(file: Annotated[Path, typer.Argument(help="JSON lines to write.")]) -> None:
    """Write all corrections to a file, to set "state" to accepted or rejected there."""
    from serving.feedback.reviews import all_corrections, write_file

    rows = all_corrections()
    write_file(rows, file)
    typer.echo(f"{len(rows)} corrections in {file}")


@app.command("import")
def take(file: Annotated[Path, typer.Argument(help="JSON lines, as export writes them.")], reviewer: Reviewer) -> None:
    """Take the decisions that a file holds, as yours."""
    from serving.feedback.reviews import all_corrections, keep, read_file

    known = {one.id: one for one in all_corrections()}

    def news(one: object, before: object) -> bool:
        said = ("state", "recording", "start", "end", "correction", "over_reference")
        return any(getattr(one, name) != getattr(before, name, None) for name in said)

    decisions = [one for one in read_file(file, reviewer) if news(one, known.get(one.id))]
    keep(decisions)
    typer.echo(f"{len(decisions)} decisions taken")


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SluiceError(f"--recording {file}: cannot be read ({error.strerror})") from error


def _plain(text: str) -> str:
    """A stranger's text on one line of a terminal, without what could steer it."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(text.split()))
