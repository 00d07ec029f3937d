"""Shared by every room: a home that is not the user's, and one small but whole bundle for the session."""

import ast
import fcntl
import hashlib
import inspect
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: the suite shares two cores

import numpy as np
import pandas as pd
import pytest

DIM = 48
NOON = pd.Timestamp("2026-03-01 12:00", tz="UTC")


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """State goes below the session's own directory, and no server of this machine is asked."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("SLUICE_", "MLFLOW_", "FEAST_")) or n == "KUBECONFIG"]:
            patch.delenv(name)
        patch.setenv("SLUICE_HOME", str(home))
        yield home


def built_once(make: Callable[[Path], object], task: str, *steps: str) -> Path:
    """The folder that ``make`` fills, in build/tests under a digest of the code: for every worker and later session.

    ``steps`` are the modules that ``make`` runs for ``task``. The folder moves once it is made, and nobody may write
    into it.
    """
    from pipelines.digest import code_digest
    from serving.contract.files import atomic_dir

    root, source = Path(__file__).parents[1], Path(inspect.getfile(make))
    own = [file.read_bytes() for file in (root / "constraints.txt", source, *sorted(source.parent.glob("tiny_*.py")))]
    code = b"".join([*own, *(code_digest(step, task).encode() for step in steps)])
    place = root / "build" / "tests" / f"{make.__name__}-{hashlib.sha256(code).hexdigest()[:16]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            with atomic_dir(place) as scratch:
                make(scratch)
    return place


def documented(root: Path, room: str) -> list[dict[str, Any]]:
    """Passages out of the documented functions and classes of one package."""
    rows = []
    for file in sorted((root / room).rglob("*.py")):
        source = file.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node)):
                signature = source.splitlines()[node.lineno - 1].strip()
                body = "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])[:300]
                rows.append({"path": file.relative_to(root).as_posix(), "name": node.name, "doc": doc, "body": body,
                             "kind": "class" if isinstance(node, ast.ClassDef) else "function", "signature": signature,
                             "start_line": node.lineno, "end_line": node.end_lineno})  # fmt: skip
    return rows


def make_passages(count: int = 80) -> pd.DataFrame:
    """``count`` passages of Python's own logging, which no edit of ours changes, as ingest would shape them."""
    table = pd.DataFrame(documented(Path(logging.__file__).parents[1], "logging")).head(count)
    table["text"] = table["name"] + "\n" + table["doc"] + "\n" + table["body"]
    table["passage_id"] = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in table["path"] + table["text"]]
    table["summary"] = [" ".join(doc.split(". ")[0].split()).split(": ")[0].rstrip(".") for doc in table["doc"]]
    table["n_tokens"] = table["text"].str.split().str.len().astype("int32")
    table = table.assign(commit="", url="", documented=True, n_changes=1, changed_at=NOON)
    table["split"] = [("train", "val", "test")[row % 3] for row in range(len(table))]
    return table.drop_duplicates("passage_id").reset_index(drop=True)


def make_questions(passages: pd.DataFrame) -> pd.DataFrame:
    """One question a passage out of its first sentence, as make_qa would shape it, and one persona question."""
    rows = [
        {"question_id": f"q{at}", "question": f"Where is it that {row.summary.lower()}?", "answer": row.summary,
         "gold": [row.passage_id], "path": row.path, "category": ("what", "how")[at % 2], "withheld": row.summary,
         "split": row.split, "origin": "rule", "persona": "", "asked_at": NOON}
        for at, row in enumerate(passages.itertuples())
    ]  # fmt: skip
    words = "how do I set the level of a logger?"
    own = {**rows[0], "question_id": "p0", "question": words, "withheld": "", "split": "persona"}
    return pd.DataFrame([*rows, {**own, "origin": "persona", "persona": "novice"}])


def make_features(passages: pd.DataFrame) -> pd.DataFrame:
    """The feature snapshot of passages: featurize's columns."""
    numbers = {"documented": 1, "changed_day": 20_000, "n_changes": 1, "shown": 0, "up": 0, "down": 0}
    table = passages[["passage_id", "kind", "n_tokens"]].assign(**numbers)
    return table.astype({"n_tokens": "int64"})


def make_variants(target: Path) -> Path:
    """An encoder as quantize leaves it, without training: the mean of random word vectors, so shared words are near."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted(
        {w for p in make_passages()["text"] for w in "".join(c if c.isalnum() else " " for c in p.lower()).split()}
    )
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    (target / "encoder").mkdir(parents=True)
    tokenizer.save(str(target / "tokenizer.json"))
    random = np.random.default_rng(0)
    weights = {
        "table": random.normal(size=(len(vocabulary), DIM)).astype(np.float32),
        "turn": np.linalg.qr(random.normal(size=(DIM, DIM)))[0].astype(np.float32),
        "last": np.asarray([-1], np.int64), "middle": np.asarray([1], np.int64), "tiny": np.asarray([1e-6], np.float32),
    }  # fmt: skip
    weights["table"][:4] = 0  # [PAD], [UNK], [CLS] and [SEP] say nothing
    steps = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["words", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "turn"], ["turned"]),
        helper.make_node("ReduceL2", ["turned", "last"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "tiny"], ["safe"]),
        helper.make_node("Div", ["turned", "safe"], ["embedding"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", DIM])
    tensors = [numpy_helper.from_array(array.astype(array.dtype), name) for name, array in weights.items()]
    model = helper.make_model(
        helper.make_graph(steps, "bag", inputs, [output], tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(model, str(target / "encoder" / "fp32.onnx"))
    _quantise(target / "encoder")
    sizes = {name: (target / "encoder" / f"{name}.onnx").stat().st_size for name in ("fp32", "int8")}
    description = {
        "task": "retrieval",
        "encoder": {"pooling": "mean", "normalize": True, "dim": DIM, "max_tokens": 128}, "base_model": "bag of words",
        "adapter": None, "variants": {n: {"file": f"encoder/{n}.onnx", "bytes": s} for n, s in sizes.items()},
        "variant": "int8",
    }  # fmt: skip
    (target / "variants.json").write_text(json.dumps(description))
    return target


def _quantise(folder: Path) -> None:
    import logging

    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().disabled = True  # onnxruntime advises a preprocessing that a graph this small does not need
    try:
        quantize_dynamic(folder / "fp32.onnx", folder / "int8.onnx", per_channel=True)
    finally:
        logging.getLogger().disabled = False


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with passages, questions, frame and snapshot.parquet and variants/, made of serving/'s own source."""
    folder = tmp_path_factory.mktemp("tiny_data")
    passages = make_passages()
    features = make_features(passages)
    tables = {
        "passages": passages, "questions": make_questions(passages), "snapshot": features,
        "frame": features.assign(event_timestamp=NOON.ceil("D")),
    }  # fmt: skip
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", coerce_timestamps="us", allow_truncated_timestamps=True)
    make_variants(folder / "variants")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tiny_data: Path) -> Path:
    """A whole bundle over `tiny_data`, packed by the real step. Read-only: copy it before changing anything."""
    from components.pack.run import pack

    tables = [tiny_data / f"{name}.parquet" for name in ("passages", "questions", "frame", "snapshot")]
    pack(tiny_data / "variants", *tables[:2], {}, tiny_data / "bundle", *tables[2:])
    return tiny_data / "bundle"


@pytest.fixture(scope="session", name="built_once")
def _built_once() -> Callable[..., Path]:
    return built_once


@pytest.fixture(scope="session")
def tiny_speech() -> Path:
    """A random Whisper from model directory to bundle/, see tests/components/tiny_speech.py. Read-only."""
    from tiny_speech import make_speech

    return built_once(make_speech, "transcription", "components.quantize.run", "components.pack.run")
