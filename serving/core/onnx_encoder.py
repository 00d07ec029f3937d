"""Texts to vectors with an ONNX graph whose output ``embedding`` is pooled and normalised already."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.contract.errors import SluiceError

OUTPUT = "embedding"
RUN_COST = 16
"""What starting a run costs, in tokens (measured: 0.9 ms a run and 0.06 ms a token, MiniLM INT8, one thread)."""

_BUDGET = {"CPUExecutionProvider": 512, "CUDAExecutionProvider": 65_536}
"""Most padded tokens of one run, by provider; on a CPU for each thread."""


class OnnxEncoder:
    """An encoder file of a bundle (or of quantize's variants directory), ready to run.

    In: ``directory`` that holds ``tokenizer.json``, ``file`` the graph's path relative to it, ``threads`` of one run,
    ``max_tokens`` where texts are cut (special tokens count). Calls from several threads are safe.
    Errors: `SluiceError` for a file that is missing or cannot be read.
    """

    def __init__(self, directory: Path | str, file: str, threads: int = 1, max_tokens: int = 256) -> None:
        directory = Path(directory)
        self._tokenizer = _open_tokenizer(directory / "tokenizer.json", max_tokens)
        self._session = _open_session(directory / file, threads)
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._budget = _BUDGET[self._session.get_providers()[0]] * threads
        shapes = {node.name: node.shape for node in self._session.get_outputs()}
        if OUTPUT not in shapes:
            raise SluiceError(f"{directory / file}: no output {OUTPUT!r}, only {', '.join(shapes)}; quantize it again")
        self._pad = self._tokenizer.token_to_id("[PAD]") or self._tokenizer.token_to_id("<pad>") or 0
        self.max_tokens, self.threads = max_tokens, threads
        width = shapes[OUTPUT][-1]
        self.dim = width if isinstance(width, int) else int(self.encode([""]).shape[1])

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, cut at ``max_tokens``."""
        clean = [text.encode(errors="replace").decode() for text in texts]  # half a surrogate pair would raise
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean)]

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens that `encode` reads of each text: int32 [n]."""
        return np.fromiter((len(ids) for ids in self.tokenize(texts)), np.int32, len(texts))

    def encode(self, texts: Sequence[str], batch: int = 32) -> np.ndarray:
        """Encode texts: float32 [n, dim], L2-normalised, in the order given; at most ``batch`` texts a run.

        Texts are sorted by length and cut into runs so that the padding costs less than another run would (`plan`).
        """
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        ids = self.tokenize(texts)
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        runs = plan([len(ids[i]) for i in order], batch, self._budget)
        parts = [self._run([ids[i] for i in order[start:end]]) for start, end in runs]
        result = np.empty((len(ids), parts[0].shape[1]), np.float32)
        result[order] = np.concatenate(parts)
        return result

    def _run(self, ids: list[list[int]]) -> np.ndarray:
        width = max(map(len, ids))
        tokens = np.full((len(ids), width), self._pad, np.int64)
        mask = np.zeros((len(ids), width), np.int64)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        known = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": None}
        feed = {name: np.zeros_like(tokens) if known[name] is None else known[name] for name in self._inputs}
        return np.asarray(self._session.run([OUTPUT], feed)[0], np.float32)


def plan(lengths: Sequence[int], batch: int, budget: int) -> list[tuple[int, int]]:
    """Cut texts, longest first, into runs [start, end) that cost least: RUN_COST plus padded tokens each.

    A run holds at most ``batch`` texts and, unless it holds one, at most ``budget`` padded tokens: beyond, the
    activations leave the processor's cache and every token costs up to a third more.
    """
    count = len(lengths)
    cheapest, cut = [0.0] + [float("inf")] * count, [0] * (count + 1)
    for start in range(count):
        for end in range(start + 1, min(start + batch, count) + 1):
            tokens = (end - start) * lengths[start]
            if tokens > budget and end > start + 1:
                break
            cost = cheapest[start] + RUN_COST + tokens
            if cost < cheapest[end]:
                cheapest[end], cut[end] = cost, start
    runs: list[tuple[int, int]] = []
    end = count
    while end:
        runs.append((cut[end], end))
        end = cut[end]
    return runs[::-1]


def _open_tokenizer(path: Path, max_tokens: int) -> Any:
    from tokenizers import Tokenizer

    if not path.is_file():
        raise SluiceError(f"{path}: no such file; quantize the model again")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise SluiceError(f"{path}: not a tokenizer file ({error}); quantize the model again") from error
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _open_session(path: Path, threads: int) -> Any:
    import onnxruntime as ort

    if not path.is_file():
        raise SluiceError(f"{path}: no such model file; quantize the model again, or name another variant")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=_providers(path, ort.get_available_providers()))
    except Exception as error:
        raise SluiceError(
            f"{path}: onnxruntime cannot read it ({str(error)[:200]}); quantize the model again"
        ) from error


def _providers(path: Path, available: Sequence[str]) -> list[str]:
    """CUDA where there is one, except for INT8 graphs: integer kernels exist on the CPU only, each would copy back."""
    if "CUDAExecutionProvider" in available and b"MatMulInteger" not in path.read_bytes():
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
