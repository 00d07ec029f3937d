"""lectures: transcripts, bullets and answers from recordings."""

from collections.abc import Mapping
from pathlib import Path

from load_tests.slo import SLO, LoadSettings, LoadTest
from pipelines.systems import Arguments, Endpoint, Graph, Sizes, Source, System, directory, feedback_count
from pipelines.systems.lectures.verbs import commands

SAMPLES = Path(__file__).parents[3] / "components" / "recordings" / "samples"


def _arguments(source: str, full: bool, base_model: str) -> Arguments:
    from pipelines.digest import source_digest

    remote = "://" in source
    place = source if remote else (str(_recordings(source)) if source else "")
    # What lies in a bucket has no digest here: the step that reads it looks at the objects' own.
    revision = source if remote else source_digest(Path(place or SAMPLES), str(feedback_count()), suffixes=())
    return {"source": place, "base_model": base_model, "revision": revision}


def _recordings(source: str) -> Path:
    path = Path(source).resolve()
    return path.parent if path.is_file() else directory(source, "recordings, or one recording")


def _describe(arguments: Mapping[str, str]) -> str:
    return f"{arguments['source'] or 'our own sample lectures'}, transcribed by {arguments['base_model']} to begin with"


SYSTEM = System(
    source=Source("recordings, as a file, directory or s3:// prefix (default: our own samples)", _arguments, _describe),
    base_model="whisper-tiny.en",
    endpoints=(
        Endpoint(
            "lectures-transcriber",
            "transcription",
            "Recordings to text.",
            # Utterances of up to 6 s, each a window of 30 s to the model; units are seconds of audio.
            LoadTest(
                slo=SLO(requests_per_s=0.8, units_per_s=2, p95_ms=5000, error_rate=0.005, min_requests=12),
                load=LoadSettings(users=4, rate=1, seconds=30, timeout_s=20),
            ),
            concurrency=4,
            # Knative's own upper limit; more wants max-revision-timeout-seconds in its ConfigMap config-defaults.
            timeout_s=600,
            # Its page summarises and asks through these; SLUICE_PEERS says where they are.
            args=("--peers=lectures-highlights,lectures-retriever",),
            sizes=Sizes("TRANSCRIBER", memory="2Gi", memory_limit="4Gi"),
        ),
        Endpoint(
            "lectures-highlights",
            "highlights",
            "Transcripts to bullets.",
            # Whole lectures in a request; units are sentences.
            LoadTest(
                slo=SLO(requests_per_s=8, units_per_s=100, p95_ms=800, error_rate=0.005, min_requests=40),
                load=LoadSettings(users=8, rate=10, seconds=15, timeout_s=20),
            ),
            concurrency=8,
            timeout_s=60,
            # A transcript of hours with the time of every word is some megabytes.
            args=("--max-body=16000000", "--deadline=50"),
        ),
        Endpoint(
            "lectures-retriever",
            "retrieval",
            "Questions about lectures.",
            LoadTest(
                slo=SLO(requests_per_s=50, p95_ms=200, error_rate=0.005, min_requests=50),
                load=LoadSettings(users=24, rate=60, seconds=15, timeout_s=5),
            ),
            protocol="v2",
            generator=True,
        ),
    ),
    graph=Graph(
        "lectures",
        "A recording in; transcript, segments and bullets out.",
        {"transcribe": "lectures-transcriber", "summarize": "lectures-highlights"},
    ),
    answers="lectures-retriever",
    commands=commands,
)
