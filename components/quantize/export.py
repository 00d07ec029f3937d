"""From a torch encoder to ONNX graphs."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.common.encoder import TorchEncoder, pool
from serving.contract.errors import SluiceError

log = logging.getLogger(__name__)
OPSET = 20
OUTPUT = "embedding"


def export_fp32(directory: Path | str, target: Path) -> None:
    """Export a model directory as one ONNX file: token ids in, pooled and normalised embeddings out.

    Inputs ``input_ids`` and ``attention_mask`` int64 [batch, tokens], both dimensions free; output ``embedding``
    float32 [batch, dim]. Token types are constants inside the graph. Made by torch's dynamo exporter.
    """
    import onnx
    import torch

    encoder = TorchEncoder(directory)
    encoder.model.to("cpu").set_attn_implementation("eager")

    class Embedder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return pool(hidden, attention_mask, encoder.spec)

    ids = torch.ones((3, 17), dtype=torch.int64)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with quiet():
        program = torch.onnx.export(
            Embedder().eval(),
            (ids, torch.ones_like(ids)),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["pooled"],
            dynamic_shapes={"input_ids": free, "attention_mask": free},
            verbose=False,
        )
    if program is None:
        raise SluiceError(f"{directory}: torch exported no ONNX graph; its log says why")
    model = program.model_proto
    rename(model.graph, {OUTPUT: f"{OUTPUT}_tokens", "pooled": OUTPUT})
    onnx.save(model, str(target))


def rename(graph: Any, names: dict[str, str]) -> None:
    """Rename values of an ONNX graph in place: the exporter calls an inner value "embedding" too."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in [*graph.output, *graph.value_info]:
        value.name = names.get(value.name, value.name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what the exporter prints and warns to the log: none of it is for the person who runs the step."""
    noise = io.StringIO()
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            exporter.setLevel(level)
    for line in noise.getvalue().splitlines():
        log.debug("export: %s", line)


def optimise(source: Path, target: Path) -> None:
    """Save the graph as onnxruntime simplifies it, with fusions that any CPU can run (level "extended")."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def quantise_dynamic(source: Path, target: Path, kinds: Sequence[str] = ("MatMul", "Gemm", "Gather")) -> None:
    """INT8 weights per channel, activations scaled at run time; embeddings (Gather) too, or the file stays large."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet(), _root_log_quiet():
        quantize_dynamic(
            str(source),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(kinds),
        )


@contextlib.contextmanager
def _root_log_quiet() -> Iterator[None]:
    """Onnxruntime advises on the root logger to pre-process the graph, which `optimise` has done."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def quantise_static(source: Path, target: Path, samples: Sequence[Sequence[int]]) -> None:
    """INT8 with activation ranges fixed beforehand on ``samples`` (token ids), MatMul by weights and Gather only.

    Off by default, since dynamic serves better: activations of MiniLM differ too much from token to token.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            ids = next(self.rest, None)
            if ids is None:
                return None
            row = np.array([ids], dtype=np.int64)
            return {"input_ids": row, "attention_mask": np.ones_like(row)}

    with quiet(), _root_log_quiet():
        quantize_static(
            str(source),
            str(target),
            Samples(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            op_types_to_quantize=["MatMul", "Gather"],
            extra_options={"MatMulConstBOnly": True},
        )


def compare(directory: Path | str, found: dict[str, np.ndarray], texts: list[str]) -> dict[str, dict[str, float]]:
    """How far each variant's embeddings of ``texts`` are from torch's: largest absolute difference, mean cosine."""
    wanted = TorchEncoder(directory).encode(texts)
    return {
        name: {
            "max_abs_difference": float(np.abs(vectors - wanted).max()),
            "mean_cosine": float((vectors * wanted).sum(1).mean()),
        }
        for name, vectors in found.items()
    }
