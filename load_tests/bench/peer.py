"""The peer: the server that everyone writes first. FastAPI, PyTorch in fp32, one request a call, nothing else.

Same weights, same threads, same index and the same ranking and answers as the bundle's; only what this project adds is
missing: INT8 in ONNX, batching, a served runtime. Its endpoints are plain ``def``, as FastAPI's own tutorial writes
them, so FastAPI runs them in its thread pool.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.core.onnx_encoder import OnnxEncoder


class PeerEncoder:
    """Texts to vectors with a Hugging Face model directory (see components/base), in fp32."""

    def __init__(self, directory: Path, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(threads)
        spec = json.loads((directory / "sluice.json").read_text())
        self._torch, self._cls, self.max_tokens = torch, spec["pooling"] == "cls", spec["max_tokens"]
        self._normalize, self.dim = spec.get("normalize", True), spec["dim"]
        self._tokenizer = AutoTokenizer.from_pretrained(directory)
        self._model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()

    def encode(self, texts: Sequence[str], batch: int = 32) -> np.ndarray:
        """float32 [n, dim]."""
        torch = self._torch
        with torch.inference_mode():
            inputs = self._tokenizer(
                list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
            )
            hidden = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            vectors = hidden[:, 0] if self._cls else (hidden * mask).sum(1) / mask.sum(1)
            if self._normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return np.asarray(vectors.numpy(), np.float32)


def make_app(bundle: Path, model: Path, threads: int, name: str) -> Any:
    """The FastAPI application: embeddings and whole answers, on the routes that ours answers."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    from serving.contract.load import load

    encoder = PeerEncoder(model, threads)
    # The very retriever that we serve, with the encoder exchanged: every other step costs both servers the same.
    retriever: Any = load(bundle, threads=threads)
    _same_weights(encoder, bundle, retriever.bundle, threads)
    retriever.encoder = encoder
    app = FastAPI()

    class PeerQuestion(BaseModel):
        question: str
        top_k: int = 5

    class Questions(BaseModel):
        instances: list[PeerQuestion]

    class Texts(BaseModel):
        model: str
        input: str

    @app.get("/ready")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/openai/v1/embeddings")
    def embeddings(texts: Texts) -> dict[str, Any]:
        return {"data": [{"index": 0, "embedding": encoder.encode([texts.input])[0].tolist()}], "model": texts.model}

    @app.post(f"/v1/models/{name}:predict")
    def predict(questions: Questions) -> dict[str, Any]:
        return {"predictions": retriever.predict([q.model_dump() for q in questions.instances])}

    return app


def _same_weights(encoder: PeerEncoder, place: Path, bundle: Bundle, threads: int) -> None:
    """A comparison of different models would compare nothing. Errors: `SluiceError` if the vectors differ."""
    if "fp32" not in bundle.variants:
        return
    texts = ["How do I load a model?", "class Trainer: train, evaluate and save"]
    theirs = OnnxEncoder(place, bundle.file_of("fp32"), threads, bundle.text_encoder().max_tokens).encode(texts)
    if (np.sum(encoder.encode(texts) * theirs, axis=1) < 0.999).any():
        raise SluiceError("the model directory holds other weights than the bundle; name the merged model it came from")


def main() -> None:
    """``python -m load_tests.bench.peer --bundle DIR --model-dir DIR --port N``."""
    parser = argparse.ArgumentParser("python -m load_tests.bench.peer")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="codebase")
    flags = parser.parse_args()
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    os.environ.update(dict.fromkeys(pools, str(flags.threads)), TOKENIZERS_PARALLELISM="false")
    import uvicorn

    app = make_app(flags.bundle, flags.model_dir, flags.threads, flags.name)
    uvicorn.run(app, host="127.0.0.1", port=flags.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
