"""A recording to the live endpoints and back: `sluice transcribe` and `sluice summarize`."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.contract.errors import SluiceError
from serving.contract.files import home

if TYPE_CHECKING:
    import httpx

FORMATS = ("text", "srt", "vtt", "json", "verbose_json")
Recording = Annotated[Path, typer.Argument(help="A recording: wav, mp3, m4a, ogg, flac, mp4, mkv, webm.")]
commands = typer.Typer()


@commands.command("transcribe")
def print_transcript(
    file: Recording,
    form: Annotated[str, typer.Option("--format", help="text, srt, vtt, json or verbose_json.")] = "text",
    language: Annotated[str, typer.Option(help="Language code; default: detected by models that know several.")] = "",
    prompt: Annotated[str, typer.Option(help="Words that may occur, such as names.")] = "",
) -> None:
    """Print the transcript of a recording, by the transcriber that was promoted."""
    typer.echo(transcribe(file, form, language, prompt).rstrip("\n"))


@commands.command("summarize")
def print_summary(
    file: Recording,
    abstract: Annotated[
        bool, typer.Option("--abstract", help="Also in new words, by the generator that SLUICE_GENERATOR_URL names.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="Also in new words, by this seq2seq model, such as facebook/bart-large-cnn.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print transcript, segments and bullets as JSON.")] = False,
) -> None:
    """Print a recording's bullet summary with times, by the models that were promoted."""
    found = summarize(file, abstract, model)
    typer.echo(json.dumps(found)) if as_json else _show(found)


@contextlib.contextmanager
def reach(name: str) -> Iterator[str]:
    """The address of what serves under ``name``; what was promoted here is brought up for the while if nothing runs.

    Raises:
        SluiceError: nothing of that name is served, and nothing was ever promoted on this machine.
    """
    from pipelines.client import endpoint_url
    from pipelines.laptop import serving_here

    try:
        url = endpoint_url(name)
    except SluiceError:
        if not (home() / "serving" / "state.json").is_file():
            raise
        with serving_here(0):
            yield _when_up(name)
    else:
        yield url


def _when_up(name: str, patience_s: float = 60) -> str:
    import httpx

    from pipelines.client import endpoint_url

    until = time.monotonic() + patience_s
    while True:
        try:
            url = endpoint_url(name)
            if httpx.get(f"{url}/v1/models/{name}", timeout=5).is_success:
                return url
        except (SluiceError, httpx.HTTPError):
            if time.monotonic() > until:
                raise
        if time.monotonic() > until:
            raise SluiceError(f"{name} did not get ready within {patience_s:.0f} s; `sluice status` says why")
        time.sleep(0.2)


def transcribe(file: Path, form: str, language: str, prompt: str) -> str:
    """The transcript of a recording, as ``form`` (one of `FORMATS`) says.

    Raises:
        SluiceError: there is no such file, or the endpoint refuses it; the sentence is the endpoint's own.
    """
    if form not in FORMATS:
        raise SluiceError(f"--format {form}: choose one of {', '.join(FORMATS)}")
    with reach("lectures-transcriber") as url:
        fields = {"model": "lectures-transcriber", "response_format": form}
        fields |= {name: value for name, value in {"language": language, "prompt": prompt}.items() if value}
        return _upload(f"{url}/openai/v1/audio/transcriptions", file, fields).text


def summarize(file: Path, abstract: bool = False, model: str = "") -> dict[str, Any]:
    """Transcript, segments and bullets of a recording, by the transcriber and then the highlighter.

    ``abstract`` adds a summary in new words and how far the transcript bears it out (``abstract``, see
    `components.summaries.abstract.written`): by the seq2seq ``model`` named, or else by the generator.

    Raises:
        SluiceError: as `transcribe`; or there is no generator, or no such model.
    """
    import httpx

    from serving.contract.access import bearer

    with reach("lectures-transcriber") as speech, reach("lectures-highlights") as notes:
        fields = {"model": "lectures-transcriber", "response_format": "verbose_json"}
        spoken = _upload(f"{speech}/openai/v1/audio/transcriptions", file, fields).json()
        body = {"instances": [{"text": spoken["text"], "segments": spoken["segments"]}]}
        answer = httpx.post(f"{notes}/v1/models/lectures-highlights:predict", json=body, headers=bearer(), timeout=600)
        found = dict(_answer(answer).json()["predictions"][0])
    if abstract or model:
        from components.summaries.abstract import written

        found["abstract"] = written([segment["text"] for segment in spoken["segments"]], model)
    return found


def _upload(url: str, file: Path, fields: dict[str, str]) -> "httpx.Response":
    import httpx

    from serving.contract.access import bearer

    if not file.is_file():
        raise SluiceError(f"{file}: no such file; name a recording (wav, mp3, m4a, ogg, flac, mp4, mkv, webm)")
    with file.open("rb") as stream:
        files = {"file": (file.name, stream)}
        return _answer(httpx.post(url, data=fields, files=files, headers=bearer(), timeout=3600))


def _answer(answer: "httpx.Response") -> "httpx.Response":
    if answer.is_error:
        try:
            said = answer.json().get("error", answer.text)
        except ValueError:
            said = answer.text[:300]
        raise SluiceError(f"{answer.url} answered {answer.status_code}: {said}")
    return answer


def _show(found: dict[str, Any]) -> None:
    """Print the summary in new words, where there is one, and the bullets with their times."""
    from rich.console import Console
    from rich.markup import escape

    from pipelines.client import clock

    console = Console(highlight=False)
    if told := found.get("abstract"):
        doubt = "" if told["faithful"] else f"\n[red]not all of it is in the transcript: {told['invented']}[/]"
        console.print(f"{escape(told['text'])}{doubt}\n")
    for bullet in found["bullets"]:
        when = f"[dim]{clock(bullet['start'])}[/] " if bullet.get("start") is not None else ""
        console.print(f"• {when}{escape(bullet['text'])}")
