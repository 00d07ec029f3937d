"""The two ONNX graphs of a Whisper variant: windows to cross-attention keys and values, tokens to logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.contract.bundle import SpeechSpec
from serving.contract.errors import SluiceError
from serving.transcription.mel import Floats

Ints = npt.NDArray[np.int64]


@dataclass
class Memory:
    """What the decoder keeps of b windows: cross-attention of the encoder, self-attention of the tokens so far."""

    pads: Ints
    cross: list[Any]
    past: list[Any]

    def keep(self, rows: Sequence[int]) -> "Memory":
        """The same for some of the rows, in the given order."""
        return Memory(self.pads[list(rows)], select(self.cross, rows), select(self.past, rows))


class Graphs:
    """Encoder and decoder of one variant (from `transcription.whisper_graphs`); any thread may use them."""

    def __init__(self, folder: Path, speech: SpeechSpec, threads: int = 1) -> None:
        """Load ``folder``/{encoder,decoder}.onnx. Errors: `SluiceError` if one is missing or broken."""
        self._speech = speech
        self._encoder, self._decoder = (_session(folder / f"{part}.onnx", threads) for part in ("encoder", "decoder"))
        pairs = [f"{part}_{at}" for at in range(speech.n_layers) for part in "kv"]
        self._cross, self._past = [f"cross_{name}" for name in pairs], [f"past_{name}" for name in pairs]
        self._made = ["logits", "alignment", *pairs]

    def encode(self, features: Sequence[Floats]) -> list[Any]:
        """Features of each window, [n_mels, frames] float32, to the decoder's cross-attention inputs, one row each."""
        import onnxruntime as ort

        speech = self._speech
        shape = (len(features), speech.n_heads, speech.frames // 2, speech.head_dim)
        found = [np.empty(shape, np.float32) for _ in self._cross]
        for row, mel in enumerate(features):
            # One window at a time keeps the work in the caches; the results go straight to their rows.
            binding = self._encoder.io_binding()
            binding.bind_cpu_input("mel", np.ascontiguousarray(mel[None]))
            for name, whole in zip(self._cross, found, strict=True):
                part = whole[row : row + 1]
                binding.bind_output(name, "cpu", 0, np.float32, part.shape, part.ctypes.data)
            self._encoder.run_with_iobinding(binding)
        return [ort.OrtValue.ortvalue_from_numpy(whole) for whole in found]

    def start(self, cross: list[Any], pads: Ints) -> Memory:
        """A memory without tokens; ``pads`` [b]: with how many tokens each row's prompt will be filled up in front."""
        speech = self._speech
        empty = np.zeros((len(pads), speech.n_heads, 0, speech.head_dim), np.float32)
        return Memory(pads, cross, [_value(empty) for _ in self._past])

    def step(self, memory: Memory, tokens: Ints, wanted: Sequence[int]) -> tuple[Floats, Floats]:
        """Read tokens [b, t] into ``memory``, which changes.

        Out: logits [b, len(wanted), vocab] at the places ``wanted`` of the t tokens; attention of the alignment heads
        to the window [heads, b, t, positions].
        """
        given = dict(zip(self._cross, memory.cross, strict=True)) | dict(zip(self._past, memory.past, strict=True))
        given |= {"tokens": _value(tokens), "pads": _value(memory.pads), "wanted": _value(np.asarray(wanted, np.int64))}
        made = self._decoder.run_with_ort_values(self._made, given)
        memory.past = made[2:]
        return made[0].numpy(), made[1].numpy()


def _session(path: Path, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # A server's threads sleep between requests instead of burning the core that a neighbour needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SluiceError(f"{path}: cannot be loaded ({str(error)[:200]}); pack the bundle again") from error


def _value(array: Any) -> Any:
    import onnxruntime as ort

    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def select(values: list[Any], rows: Sequence[int]) -> list[Any]:
    """Some rows, in the given order, of what `Graphs.encode` returned."""
    return [_value(value.numpy()[list(rows)]) for value in values]
