"""What ingest can be told, and which files the part "core" of the default source holds."""

from pydantic import Field

from components.common.step import Settings

CORE = (
    "activations.py",
    "audio_utils.py",
    "backbone_utils.py",
    "cache_utils.py",
    "configuration_utils.py",
    "core_model_loading.py",
    "feature_extraction_*.py",
    "hf_argparser.py",
    "hyperparameter_search.py",
    "image_*.py",
    "masking_utils.py",
    "modelcard.py",
    "modeling_*.py",
    "optimization.py",
    "processing_utils.py",
    "pytorch_utils.py",
    "time_series_utils.py",
    "tokenization_*.py",
    "trainer*.py",
    "training_args*.py",
    "video_*.py",
    "data/**",
    "generation/**",
    "integrations/**",
    "pipelines/**",
    "quantizers/**",
    "utils/**",
    "models/auto/**",
    "models/bert/**",
    "models/clip/**",
    "models/gpt2/**",
    "models/llama/**",
    "models/t5/**",
    "models/vit/**",
    "models/whisper/**",
)
"""The part "core", as globs over relative paths: ``*`` also crosses "/", one without "/" matches at the top only."""

EXCLUDE = ("utils/dummy_*_objects.py", "*/*_pb2*.py", "models/*/modular_*.py")
"""Placeholders and protobuf output, which nobody documents, and the modular sources that modeling files repeat."""

TRANSFORMERS_URL = "https://github.com/huggingface/transformers/blob/v{version}/src/transformers/{path}#L{start}-L{end}"


class IngestSettings(Settings):
    """Settings of ingest.

    ``max_tokens`` counts the encoder's wordpieces, special tokens included; ``tokenizer`` names another tokenizer.json
    than the default base model's. ``url`` is a template with {path}, {start}, {end}, {commit}, {version}; empty means
    the default source's own, or no link. ``issues`` is a JSON-lines export of GitHub's REST API (pull requests too).
    ``undocumented_min_lines``: a public function or class without documentation is taken from that length on.
    """

    max_tokens: int = Field(256, ge=32, le=8192)
    tokenizer: str = ""
    url: str = ""
    issues: str = ""
    core: tuple[str, ...] = CORE
    exclude: tuple[str, ...] = EXCLUDE
    undocumented_min_lines: int = Field(20, ge=1)
    max_file_bytes: int = Field(4_000_000, ge=1)
    workers: int = Field(2, ge=1, le=64)
