"""The model itself: a Whisper of 1.9M parameters, and how it is run on windows shorter than its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.pretrain import phones, vocabulary
from serving.contract.files import atomic_dir
from serving.transcription.mel import Floats

SECONDS = 6
MELS = 80


def new_model() -> Any:
    """A fresh `WhisperForConditionalGeneration`, float32: d144, 4 + 2 layers, 4 heads, 6-second window, word tokens."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=vocabulary.size(),
        num_mel_bins=MELS,
        d_model=144,
        encoder_layers=4,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=576,
        decoder_ffn_dim=576,
        max_source_positions=50 * SECONDS,
        max_target_positions=64,
        dropout=0.0,
        pad_token_id=vocabulary.END,
        bos_token_id=vocabulary.END,
        eos_token_id=vocabulary.END,
        decoder_start_token_id=vocabulary.START,
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    _initialise(model)
    return model


def _initialise(model: Any) -> None:
    """Weights by fan-in instead of 0.02 everywhere, with which the positions drown what the convolutions hear."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv1d):
            torch.nn.init.normal_(module.weight, std=1.5 / (module.in_channels * module.kernel_size[0]) ** 0.5)
        elif isinstance(module, torch.nn.Linear) and not name.endswith("proj_out"):
            torch.nn.init.xavier_uniform_(module.weight, gain=0.5 if name.endswith(("out_proj", "fc2")) else 1.0)


class Learner(torch.nn.Module):
    """The model beside the CTC head (Graves et al., 2006), which teaches its encoder sounds and then goes."""

    def __init__(self) -> None:
        super().__init__()
        self.whisper = new_model()
        self.ctc = torch.nn.Linear(self.whisper.config.d_model, 1 + len(phones.sounds()))

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Features [n, 80, frames] to states [n, frames / 2, d]; ``frames`` may be fewer than the model's own 600.

        transformers' encoder refuses shorter windows, on which the first phases run three times faster.
        """
        encoder = self.whisper.model.encoder
        states = torch.nn.functional.gelu(encoder.conv1(features))
        states = torch.nn.functional.gelu(encoder.conv2(states)).permute(0, 2, 1)
        states = states + encoder.embed_positions.weight[: states.shape[1]]
        for layer in encoder.layers:
            states = layer(states, None)
            states = states[0] if isinstance(states, tuple) else states
        return encoder.layer_norm(states)

    def decode(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [n, t, vocabulary] of the next token after each of ``tokens`` [n, t]."""
        hidden = self.whisper.model.decoder(input_ids=tokens, encoder_hidden_states=states, use_cache=False)
        return self.whisper.proj_out(hidden.last_hidden_state)

    def losses(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy of the decoder and CTC loss of the encoder, both means, for one `Batch`."""
        states = self.encode(torch.from_numpy(batch.features))
        logits = self.decode(states, torch.from_numpy(batch.tokens)).float()
        entropy = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1),
            torch.from_numpy(batch.labels).flatten(),
            ignore_index=vocabulary.IGNORED,
            label_smoothing=0.05,
        )
        logs = self.ctc(states).float().log_softmax(-1).permute(1, 0, 2)
        ctc = torch.nn.functional.ctc_loss(
            logs,
            torch.tensor([token for row in batch.sounds for token in row], dtype=torch.int64),
            torch.full((logs.shape[1],), logs.shape[0], dtype=torch.int64),
            torch.tensor([len(row) for row in batch.sounds], dtype=torch.int64),
            blank=phones.BLANK,
            zero_infinity=True,
        )
        return entropy, ctc

    @torch.inference_mode()
    def transcribe(self, features: Floats, longest: int = 24) -> list[str]:
        """Greedy words of each window of ``features`` [n, 80, frames] float32."""
        states = self.encode(torch.from_numpy(features))
        tokens = torch.tensor([vocabulary.PREFIX] * len(features))
        ended = torch.zeros(len(features), dtype=torch.bool)
        for _ in range(longest):
            following = self.decode(states, tokens)[:, -1].argmax(-1)
            following[ended] = vocabulary.END
            tokens = torch.cat([tokens, following[:, None]], 1)
            ended |= following == vocabulary.END
            if bool(ended.all()):
                break
        return [vocabulary.text_of(row[len(vocabulary.PREFIX) :]) for row in tokens.tolist()]


def save(learner: Learner, target: Path, heads: list[list[int]], card: str) -> None:
    """Write the model without its CTC head as a Hugging Face directory, float16, whole or not at all.

    ``heads``: [layer, head] of the cross-attention that follows the words, for word times. ``card``: README.md.
    """
    from safetensors.numpy import save_file

    with atomic_dir(target) as scratch:
        state = learner.whisper.state_dict()
        state.pop("proj_out.weight")  # the same tensor as the token embedding
        save_file(
            {name: value.numpy().astype(np.float16) for name, value in state.items()},
            scratch / "model.safetensors",
            {"format": "pt"},
        )
        (scratch / "model.safetensors").chmod(0o644)  # safetensors writes for the owner alone
        config = learner.whisper.config.to_dict() | {
            "architectures": ["WhisperForConditionalGeneration"],
            "dtype": "float16",
        }
        for name, content in {
            "config.json": config,
            "generation_config.json": _generation(heads),
            "tokenizer_config.json": _tokenizer(),
            "preprocessor_config.json": _features(),
        }.items():
            (scratch / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        vocabulary.write_tokenizer(scratch)
        (scratch / "README.md").write_text(card)


def _generation(heads: list[list[int]]) -> dict[str, Any]:
    """generation_config.json: Whisper's own keys, as far as one language without time tokens has them."""
    return {
        "bos_token_id": vocabulary.END,
        "eos_token_id": vocabulary.END,
        "pad_token_id": vocabulary.END,
        "decoder_start_token_id": vocabulary.START,
        "no_timestamps_token_id": vocabulary.NO_TIMES,
        "prev_sot_token_id": vocabulary.PREVIOUS,
        "lang_to_id": {"<|en|>": vocabulary.ENGLISH},
        "task_to_id": {"transcribe": vocabulary.TRANSCRIBE},
        "is_multilingual": True,
        "language": "<|en|>",
        "task": "transcribe",
        "return_timestamps": False,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
        "alignment_heads": heads,
        "max_length": 64,
    }


def _tokenizer() -> dict[str, Any]:
    """tokenizer_config.json for `PreTrainedTokenizerFast`."""
    special = vocabulary.SPECIAL[vocabulary.END]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": special,
        "eos_token": special,
        "pad_token": special,
        "unk_token": "<unk>",
        "model_max_length": 64,
        "clean_up_tokenization_spaces": False,
    }


def _features() -> dict[str, Any]:
    """preprocessor_config.json for `WhisperFeatureExtractor`: a window of six seconds."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": MELS,
        "sampling_rate": 16000,
        "chunk_length": SECONDS,
        "n_fft": 400,
        "hop_length": 160,
        "n_samples": 16000 * SECONDS,
        "nb_max_frames": 100 * SECONDS,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
