"""lectures: recordings in; transcript, bullet summary and answers out."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from components.make_qa.component import lecture_questions
from components.recordings.component import recordings
from components.segment.component import segment
from components.summaries.component import summaries
from components.transcribe.component import transcribe
from components.utterances.component import utterances
from pipelines.release import Judged, featurized, refresh, release, validated
from pipelines.settings import load_settings
from pipelines.tasks import named

Settings = Mapping[str, Mapping[str, Any]]


def _transcriber(read: PipelineTask, base_model: str, settings: Settings) -> Judged:
    """Utterances with references, and the release of the speech model that learns from them."""
    spoken = named(
        utterances(recordings=read.outputs["recordings"], settings=settings["utterances"]),
        "Collect utterances",
        "utterances",
    )
    own = settings["transcriber"]
    checked = validated("transcription", spoken.outputs["corpus"], spoken.outputs["examples"], own, "Utterances: ")
    return release("lectures-transcriber", "transcription", base_model, checked, own, title="Transcriber: ")


def _transcripts(read: PipelineTask, speech: Judged, settings: Settings) -> PipelineTask:
    """Every recording transcribed by the model that passed, cleaned and cut into segments."""
    with dsl.ParallelFor(read.outputs["Output"], name="recording") as lecture:
        written = named(
            transcribe(
                recordings=read.outputs["recordings"],
                lecture=lecture,
                bundle=speech.challenger,
                fallback=speech.champion,
                verdict=speech.verdict,
                settings=settings["transcribe"],
            ),
            "Transcribe",
            "transcribe",
            kind="transcription",
            threads=1,
        )
    return named(
        segment(
            transcripts=dsl.Collected(written.outputs["transcript"]),
            recordings=read.outputs["recordings"],
            settings=settings["segment"],
        ),
        "Clean and segment",
        "segment",
    )


def _highlights(pieces: PipelineTask, text_model: str, documents: str, settings: Settings) -> None:
    """Documents with summaries, and the release of the model that picks bullets."""
    told = named(
        summaries(
            sentences=pieces.outputs["sentences"],
            references=pieces.outputs["summaries"],
            source=documents,
            settings=settings["summaries"],
        ),
        "Collect summaries",
        "summaries",
    )
    own = settings["highlights"]
    checked = validated("highlights", told.outputs["corpus"], told.outputs["examples"], own, "Summaries: ")
    release("lectures-highlights", "highlights", text_model, checked, own, title="Highlights: ")


def _retriever(read: PipelineTask, pieces: PipelineTask, text_model: str, settings: Settings) -> None:
    """Questions about the segments, their features, and a new index behind the base encoder."""
    own = settings["retriever"]
    asked = named(
        lecture_questions(
            passages=pieces.outputs["passages"],
            sentences=pieces.outputs["sentences"],
            recordings=read.outputs["recordings"],
            settings=own["make_qa"],
        ),
        "Make questions",
        "make_qa",
    )
    checked = validated("retrieval", pieces.outputs["passages"], asked.outputs["questions"], own, "Segments: ")
    features = featurized("retrieval", checked, own, "Segments: ")
    refresh("lectures-retriever", "retrieval", text_model, checked, own, features, title="Retriever: ")


@dsl.pipeline(
    name="lectures",
    display_name="Lectures: transcripts, bullets and answers from recordings",
    description="Recordings in; transcript, bullet summary and answers out, from three models behind measured gates",
)
def lectures(
    source: str = "",
    revision: str = "",
    base_model: str = "whisper-tiny.en",
    text_model: str = "minilm",
    documents: str = "",
) -> None:
    """From recordings to a promoted transcriber, highlighter and retriever, an InferenceGraph before the first two.

    Args:
        source: Recordings: an S3 prefix (s3://bucket/prefix), or a file or directory where the steps run. Empty: our
            own sample lectures, which come with the image.
        revision: Digest or date of the recordings. A new value reads the source again; the same value takes the steps
            that were done for it from the cache.
        base_model: Speech model to start from: "whisper-tiny.en", any Hugging Face Whisper id, a directory or a
            checkpoint.
        text_model: Encoder of bullets and answers: "minilm", any Hugging Face id, or a directory.
        documents: Directory of more documents with summaries, in the format of QMSum; empty means our own alone.
    """
    settings = load_settings("lectures")
    read = named(
        recordings(source=source, source_digest=revision, settings=settings["recordings"]),
        "Read recordings",
        "recordings",
    )
    speech = _transcriber(read, base_model, settings)
    pieces = _transcripts(read, speech, settings)
    _highlights(pieces, text_model, documents, settings)
    _retriever(read, pieces, text_model, settings)
