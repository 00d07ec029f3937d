"""codebase: cited answers about a source tree, from its files to a retriever behind an endpoint."""

from kfp import dsl

from components.ingest.component import ingest
from components.make_qa.component import make_qa
from pipelines.release import featurized, release, validated
from pipelines.settings import load_settings
from pipelines.tasks import named


@dsl.pipeline(
    name="codebase",
    display_name="Codebase: cited answers about a source tree",
    description="From a source tree to a tuned, quantised retriever behind an endpoint, every gate measured",
)
def codebase(source: str = "", revision: str = "", part: str = "core", base_model: str = "minilm") -> None:
    """From a source tree to a LoRA-tuned, quantised retriever behind a KServe endpoint, every gate included.

    Args:
        source: Directory of Python and Markdown, with or without git history, where the steps run: in the image or on a
            volume. Empty: the transformers package that is installed there.
        revision: Digest, commit or date of the source's content. A new value reads the source again; the same value
            takes the steps that were done for it from the cache.
        part: Which files: "core" is the user-facing part of transformers, "all" is every file.
        base_model: Encoder to start from: "minilm", any Hugging Face id, or a directory.
    """
    settings = load_settings("codebase")
    read = named(
        ingest(source=source, source_digest=revision, part=part, settings=settings["ingest"]), "Ingest source", "ingest"
    )
    asked = named(make_qa(passages=read.outputs["passages"], settings=settings["make_qa"]), "Make questions", "make_qa")
    checked = validated("retrieval", read.outputs["passages"], asked.outputs["questions"], settings)
    features = featurized("retrieval", checked, settings)
    release("codebase", "retrieval", base_model, checked, settings, features)
