"""codebase: cited answers about a source tree."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from load_tests.slo import SLO, LoadSettings, LoadTest, Question
from pipelines.systems import Arguments, Endpoint, Source, System, directory, feedback_count
from serving.contract.errors import SluiceError

# Unlabelled: in a load test nothing is marked right or wrong by them.
_ASKED = {
    "novice": (
        "how do I load a model",
        "what is a tokenizer",
        "why is my output cut off",
        "how to run on gpu",
        "what does generate do",
    ),
    "experienced": (
        "How do I resume training from a checkpoint with the Trainer?",
        "Which parameter limits the number of new tokens during generation?",
        "How can I pad a batch to a multiple of eight?",
        "Where is early stopping implemented?",
        "How do I add special tokens and resize the embeddings?",
    ),
    "researcher": (
        "How is the contrastive search penalty computed, and which hidden states does it compare?",
        "Which classes implement grouped-query attention and how are the key and value heads repeated?",
        "What is the difference between nucleus sampling and locally typical sampling in the logits processors?",
        "How does rotary position embedding scaling work for sequences longer than the training length?",
        "Where is the load balancing loss of the mixture-of-experts router computed?",
    ),
}
QUESTIONS = tuple(Question(question=text, persona=persona) for persona, texts in _ASKED.items() for text in texts)


def _arguments(source: str, full: bool, base_model: str) -> Arguments:
    from pipelines.digest import source_digest

    place = directory(source, "Python or Markdown files") if source else _transformers()
    part = "all" if full or source else "core"
    return {
        "source": str(place) if source else "",
        "part": part,
        "base_model": base_model,
        "revision": source_digest(place, part, str(feedback_count())),
    }


def _describe(arguments: Mapping[str, str]) -> str:
    part = "all of it" if arguments["part"] == "all" else "its user-facing core; --full takes every file"
    return f"{arguments['source'] or 'the installed transformers package'} ({part})"


def _transformers() -> Path:
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.origin:
        raise SluiceError(
            "the transformers package is not installed here; install it, or name a directory with --source"
        )
    return Path(spec.origin).parent


SYSTEM = System(
    source=Source("directory of Python and Markdown (default: the installed transformers)", _arguments, _describe),
    base_model="minilm",
    endpoints=(
        Endpoint(
            "codebase",
            "retrieval",
            "Questions about a source tree.",
            LoadTest(
                slo=SLO(requests_per_s=50, p95_ms=200, error_rate=0.005, min_requests=50),
                load=LoadSettings(users=24, rate=60, seconds=15, timeout_s=5),
                questions=QUESTIONS,
            ),
            protocol="v2",
            generator=True,
        ),
    ),
    answers="codebase",
    questions=(
        "My disk fills up with checkpoints, which setting limits how many are kept?",
        "How can I find a batch size that does not run out of memory automatically?",
        "How do I turn a Python function with type hints into a tool schema for a chat model?",
    ),
)
