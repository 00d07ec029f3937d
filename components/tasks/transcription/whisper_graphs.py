"""From a Whisper model directory to ONNX graphs: encoder.onnx and decoder.onnx in one folder a variant."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from components.quantize.export import OPSET, quantise_dynamic, quiet
from serving.contract.errors import SluiceError
from serving.transcription.spec import read_speech

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
LARGEST = 1_800_000_000
"""Bytes of weights above which they go into a file beside the graph: one protobuf holds 2 GB at most."""


def export_fp32(model_dir: Path | str, out_dir: Path | str) -> None:
    """Write ``encoder.onnx`` and ``decoder.onnx`` (float32) of a Whisper model directory into ``out_dir``.

    Their inputs and outputs are those of `whisper_modules.Encoder` and `Decoder`; names: mel -> cross_k_0, cross_v_0,
    ...; tokens, pads, wanted, past_k_0, past_v_0, ..., cross_k_0, ... -> logits, alignment, k_0, v_0, .... Batch,
    tokens and past length are free, the window is fixed. Errors: `SluiceError` if the directory holds no Whisper.
    """
    import torch

    from components.tasks.transcription.whisper_modules import Decoder, Encoder

    model, speech, out = load_whisper(model_dir), read_speech(model_dir), Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    free, layers = torch.export.Dim.DYNAMIC, speech.n_layers
    mel = torch.zeros((2, speech.n_mels, speech.frames))
    encoder = Encoder(model).eval()
    _export(encoder, (mel,), {"mel": {0: free}}, ["mel"], names("cross_", layers), out / ENCODER)
    past = [torch.zeros((2, speech.n_heads, 3, speech.head_dim)) for _ in range(2 * layers)]
    with torch.inference_mode():
        cross = encoder(mel)
    inputs = (torch.ones((2, 4), dtype=torch.int64), torch.zeros(2, dtype=torch.int64), torch.tensor([0, 3]))
    shapes = {
        "tokens": {0: free, 1: free},
        "pads": {0: free},
        "wanted": {0: free},
        "past": [{0: free, 2: free}] * len(past),
        "cross": [{0: free}] * len(cross),
    }
    given = ["tokens", "pads", "wanted", *names("past_", layers), *names("cross_", layers)]
    made = ["logits", "alignment", *names("", layers)]
    decoder = Decoder(model, speech.alignment_heads).eval()
    _export(decoder, (*inputs, past, [x.clone() for x in cross]), shapes, given, made, out / DECODER)


def names(prefix: str, layers: int) -> list[str]:
    """``{prefix}k_0, {prefix}v_0, {prefix}k_1, …``."""
    return [f"{prefix}{part}_{at}" for at in range(layers) for part in "kv"]


def load_whisper(model_dir: Path | str) -> Any:
    """The transformers model, float32, in evaluation mode. Errors: `SluiceError` if there is none."""
    import torch
    import transformers
    from transformers import WhisperForConditionalGeneration

    if not (Path(model_dir) / "config.json").is_file():
        raise SluiceError(f"{model_dir}: no config.json, so no Whisper model to export; make one with components/base")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return WhisperForConditionalGeneration.from_pretrained(str(model_dir), dtype=torch.float32).eval()


def _export(module: Any, inputs: Any, shapes: Any, given: list[str], made: list[str], target: Path) -> None:
    import torch

    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=given,
            output_names=made,
            dynamic_shapes=shapes,
            verbose=False,
        )
    if program is None:
        raise SluiceError(f"{target.name}: torch exported no ONNX graph; its log says why")
    save(program.model_proto, target)


def save(model: Any, target: Path) -> None:
    """Write a graph; weights too large for one protobuf go into ``{target}.data`` beside it."""
    import onnx

    large = sum(len(weight.raw_data) for weight in model.graph.initializer) > LARGEST
    onnx.save(model, str(target), save_as_external_data=large, location=f"{target.name}.data")


def quantise(fp32_dir: Path | str, int8_dir: Path | str) -> None:
    """Write the INT8 variant of `export_fp32`'s folder: weights of matrix products per output channel, and embeddings.

    The embedding, which is the output matrix as well, is kept once: int8 rows with one scale each.
    """
    import onnx

    source, target = Path(fp32_dir), Path(int8_dir)
    target.mkdir(parents=True, exist_ok=True)
    quantise_dynamic(source / ENCODER, target / ENCODER, ("MatMul",))
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        apart = Path(scratch) / DECODER
        model = onnx.load(str(source / DECODER))
        shared = _part_embedding(model.graph)
        save(model, apart)
        quantise_dynamic(apart, target / DECODER, ("MatMul",))
    model = onnx.load(str(target / DECODER))
    _share_embedding(model.graph, *shared)
    save(model, target / DECODER)


def _part_embedding(graph: Any) -> tuple[str, str]:
    """Give the output product a transposed copy of the embedding, as a constant that the quantiser will take.

    Returns the names of the embedding and of that constant; small models come with it already.
    """
    from onnx import numpy_helper

    weights = {weight.name: weight for weight in graph.initializer}
    product = next(node for node in graph.node if "logits" in node.output)
    lookup = next(node for node in graph.node if node.op_type == "Gather" and "tokens" in node.input)
    turned, name = product.input[1], lookup.input[0]
    if turned not in weights:
        graph.node.remove(next(node for node in graph.node if turned in node.output))
        copy = numpy_helper.to_array(weights[name]).T
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(copy), turned))
    return name, turned


def _share_embedding(graph: Any, name: str, turned: str) -> None:
    """Let the embedding read the quantised output matrix: rows of int8, their scales, and no float32 any more."""
    from onnx import helper, numpy_helper

    weights = {weight.name: weight for weight in graph.initializer}
    product, scale = weights[f"{turned}_quantized"], weights[f"{turned}_scale"]
    lookup = next(node for node in graph.node if node.op_type == "Gather" and node.input[0] == name)
    tokens, vectors, at = lookup.input[1], lookup.output[0], list(graph.node).index(lookup)
    packed = numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(product).T), f"{name}_int8")
    column = numpy_helper.from_array(numpy_helper.to_array(scale).reshape(-1, 1), f"{name}_scale")
    new = [
        helper.make_node("Transpose", [packed.name], [product.name], perm=[1, 0]),
        helper.make_node("Gather", [packed.name, tokens], [f"{name}_rows"]),
        helper.make_node("Cast", [f"{name}_rows"], [f"{name}_float"], to=1),
        helper.make_node("Gather", [column.name, tokens], [f"{name}_scales"]),
        helper.make_node("Mul", [f"{name}_float", f"{name}_scales"], [vectors]),
    ]
    for old in (product, weights[name]):
        graph.initializer.remove(old)
    graph.initializer.extend([packed, column])
    graph.node.remove(lookup)
    for offset, node in enumerate(new):
        graph.node.insert(at + offset, node)
