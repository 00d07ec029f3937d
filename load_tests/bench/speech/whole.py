"""A recording of any length through the transcriber that is served: ``python -m load_tests.bench.speech.whole``.

Arguments: model directory, folder of one variant's graphs, recording, tokens a window, threads. Prints JSON: seconds of
sound, CPU seconds and wall-clock seconds it took, words found, peak memory of this process in MB.
"""

import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Transcribe once, words with their times included."""
    from serving.contract.bundle import Bundle, Lineage, Variant
    from serving.transcription.decode import Settings
    from serving.transcription.graphs import Graphs
    from serving.transcription.schema import INPUTS, OUTPUTS
    from serving.transcription.spec import read_speech
    from serving.transcription.transcriber import Transcriber
    from serving.transcription.vocabulary import Vocabulary

    model, folder, recording = map(Path, sys.argv[1:4])
    tokens, threads = map(int, sys.argv[4:6])
    speech = read_speech(model)
    bundle = Bundle(
        system="bench", task="transcription", base_model=model.name, speech=speech, lineage=Lineage(data="none"),
        inputs=INPUTS, outputs=OUTPUTS, variants={"int8": Variant(file=folder.name, bytes=1)}, variant="int8",
    )  # fmt: skip
    vocabulary = Vocabulary(model / "tokenizer.json", speech)
    settings = Settings(temperatures=(0.0,), least=tokens)
    transcriber = Transcriber(bundle, Graphs(folder, speech, threads), vocabulary, settings)
    wall, cpu = time.perf_counter(), time.process_time()
    result = transcriber.predict([transcriber.parse({"audio": recording, "language": "en"})])[0]
    figures = {
        "audio_s": result["duration"],
        "took_s": round(time.perf_counter() - wall, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "words": sum(len(segment["words"]) for segment in result["segments"]),
        "memory_mb": _peak_mb(),
    }
    print(json.dumps(figures))


def _peak_mb() -> float:
    """Peak resident memory; getrusage would count the parent's, whose size a child starts with. 0 where unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((round(int(line.split()[1]) / 1000) for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
