"""The torch side of a Whisper model, for training, merging and its checks; serving never comes here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from components.common.spec import ModelSpec
from serving.contract.errors import SluiceError
from serving.transcription.mel import log_mel_batch
from serving.transcription.spec import read_speech

Floats = npt.NDArray[np.float32]


def load_whisper(directory: Path | str) -> Any:
    """The transformers model of a Whisper directory, float32, in evaluation mode; `SluiceError` if it is none."""
    import transformers
    from transformers import AutoConfig, WhisperForConditionalGeneration

    if not (Path(directory) / "config.json").is_file():
        raise SluiceError(f"{directory}: no config.json, so no model to load; make one with components/base")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind = AutoConfig.from_pretrained(str(directory)).model_type
    if kind != "whisper":
        raise SluiceError(f"{directory}: a model of type '{kind}'; transcription takes Whisper models")
    return WhisperForConditionalGeneration.from_pretrained(str(directory), dtype=torch.float32).eval()


class TorchWhisper:
    """A Whisper directory in torch: model (perhaps wrapped by peft), tokenizer and what the directory says of both."""

    def __init__(self, directory: Path | str, language: str = "en") -> None:
        """Load ``directory``; ``language`` is spoken in the recordings (for models of several languages)."""
        self.spec, self.speech = ModelSpec.read(directory), read_speech(directory)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_whisper(directory).to(self.device)
        self._tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        self.prefix = self._prefix(language)
        self.autocast = False

    def _prefix(self, language: str) -> list[int]:
        """What the decoder is told before it says a word: start, language and task where it knows them, no times."""
        said = self.speech
        ids: list[int | None] = [said.tokens.sot]
        if said.languages:
            if language not in said.languages:
                known = ", ".join(said.languages[:12])
                raise SluiceError(f"language '{language}': {self.spec.base_model} knows {known}; change `language`")
            ids += [self._tokenizer.token_to_id(f"<|{language}|>"), said.tokens.transcribe]
        return [at for at in [*ids, said.tokens.no_timestamps] if at is not None]

    def ids(self, text: str) -> list[int]:
        """Token ids of a transcript, without special tokens; Whisper's words begin with a space."""
        words = text.strip()
        return list(self._tokenizer.encode(f" {words}", add_special_tokens=False).ids) if words else []

    def text(self, ids: Sequence[int]) -> str:
        """The transcript of token ids; special tokens say nothing."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def features(self, samples: Sequence[Floats]) -> torch.Tensor:
        """Log-mel features [n, mels, frames] float32 of windows: mono, 16 kHz, cut or padded to the model's window."""
        return torch.from_numpy(log_mel_batch(list(samples), self.speech.n_mels, self.speech.frames))

    def encoded(self, features: torch.Tensor) -> torch.Tensor:
        """The encoder's output [n, frames / 2, d] of windows of any length; gradients flow.

        As transformers' own forward pass, which takes whole windows alone: positions are cut to the length.
        """
        encoder = self.model.get_encoder()
        x = torch.nn.functional.gelu(encoder.conv1(features.to(self.device)))
        x = torch.nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        for layer in encoder.layers:
            x = layer(x, None)
        return encoder.layer_norm(x)

    def logits(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [n, t, vocabulary] float32 of the token after each of ``tokens`` [n, t]; gradients flow."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            heard = (self.encoded(features),)
            out = self.model(encoder_outputs=heard, decoder_input_ids=tokens.to(self.device), use_cache=False)
        return out.logits.float()

    @torch.inference_mode()
    def greedy(self, features: torch.Tensor, longest: int) -> list[list[int]]:
        """Most probable token after token, at most ``longest`` of them, for each window of ``features``.

        Keys and values of past tokens are kept; what the model's directory suppresses is never said. Without the
        temperature fall-back and the guards of serving: for validation, not for users.
        """
        end, room = self.speech.tokens.eot, self.speech.max_tokens - len(self.prefix)
        tokens = torch.tensor([self.prefix] * len(features), device=self.device)
        never = torch.tensor(self.speech.suppress, dtype=torch.int64, device=self.device)
        ended = torch.zeros(len(features), dtype=torch.bool, device=self.device)
        said: list[torch.Tensor] = []
        past = None
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            encoded = (self.encoded(features),)
            while len(said) < min(longest, room) and not bool(ended.all()):
                out = self.model(
                    encoder_outputs=encoded, decoder_input_ids=tokens, past_key_values=past, use_cache=True
                )
                past, scores = out.past_key_values, out.logits[:, -1].float()
                scores[:, never] = float("-inf")
                if not said:
                    scores[:, self.speech.begin_suppress] = float("-inf")
                tokens = scores.argmax(-1).masked_fill(ended, end)[:, None]
                said.append(tokens)
                ended |= tokens[:, 0] == end
        rows = torch.cat(said, 1).tolist() if said else [[] for _ in features]
        return [row[: row.index(end)] if end in row else row for row in rows]
