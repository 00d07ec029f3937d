"""The torch side of an encoder, for training and export; serving never comes here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from components.common.spec import Spec, read_spec
from serving.contract.errors import SluiceError

Ids = list[list[int]]
SAMPLES = (
    "How do I load a tokenizer from a local directory?",
    "def forward(self, input_ids, attention_mask=None): return self.encoder(input_ids, attention_mask)",
    "Why is the learning rate warmed up?",
    "class Trainer: runs the training loop, saves checkpoints and logs metrics. " * 8,
    "",
    "Größe der Stichprobe, 注意力掩码, emoji 🙂",
)
"""Short, long, code, prose, empty, non-English: on every length and kind of token merging must change nothing."""


def pool(hidden: torch.Tensor, mask: torch.Tensor, spec: Spec) -> torch.Tensor:
    """Token vectors [n, t, dim] and mask [n, t] to embeddings [n, dim] float32, of length 1 where the spec normalises.

    Mean pooling is Reimers & Gurevych, Sentence-BERT (2019), as sentence-transformers implements it.
    """
    if spec.pooling == "cls":
        vectors = hidden[:, 0].float()
    else:
        weights = mask.unsqueeze(-1).to(torch.float32)
        vectors = (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(vectors, dim=-1) if spec.normalize else vectors


def load_model(directory: Path | str) -> Any:
    """The transformers model of a model directory, float32, in evaluation mode."""
    import transformers
    from transformers import AutoModel

    if not (Path(directory) / "config.json").is_file():
        raise SluiceError(f"{directory}: no config.json, so no model to load; make one with components/base")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return AutoModel.from_pretrained(str(directory), dtype=torch.float32).eval()


class TorchEncoder:
    """A model directory in torch: tokenizer, model (perhaps wrapped by peft) and pooling."""

    def __init__(self, directory: Path | str, max_tokens: int | None = None) -> None:
        """Load ``directory``; ``max_tokens`` shortens the window (training on fewer tokens is cheaper)."""
        self.spec = read_spec(directory)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_model(directory).to(self.device)
        self.max_tokens = min(max_tokens or self.spec.max_tokens, self.spec.max_tokens)
        self._tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        self._tokenizer.enable_truncation(self.max_tokens)
        self._pad = int(getattr(self.model.config, "pad_token_id", None) or 0)
        self.autocast = False

    def tokenize(self, texts: Sequence[str]) -> Ids:
        """Token ids of each text, truncated to the window, not padded."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def embed(self, ids: Ids) -> torch.Tensor:
        """Embeddings [n, dim] float32 of one batch of token ids, padded to its longest; gradients flow."""
        longest = max(map(len, ids))
        tokens = torch.full((len(ids), longest), self._pad, dtype=torch.int64)
        mask = torch.zeros((len(ids), longest), dtype=torch.int64)
        for row, line in enumerate(ids):
            tokens[row, : len(line)] = torch.tensor(line)
            mask[row, : len(line)] = 1
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            hidden = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
        return pool(hidden, mask, self.spec)

    def embed_sorted(self, ids: Ids, chunk: int) -> torch.Tensor:
        """Like `embed`, in chunks of similar length, so that short texts get little padding; order is kept."""
        if not ids:
            return torch.zeros((0, self.spec.dim), device=self.device)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        parts = [self.embed([ids[i] for i in order[at : at + chunk]]) for at in range(0, len(order), chunk)]
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back.to(self.device)]

    def encode(self, texts: Sequence[str], batch: int = 64) -> np.ndarray:
        """Embeddings float32 [n, dim] of ``texts``, without gradients and in evaluation mode."""
        if not texts:
            return np.zeros((0, self.spec.dim), dtype=np.float32)
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            vectors = self.embed_sorted(self.tokenize(texts), batch).cpu().numpy()
        self.model.train(was_training)
        return vectors


def subject(directory: Path | str) -> TorchEncoder:
    """The encoder of a model directory."""
    return TorchEncoder(directory)


def outputs(encoder: TorchEncoder) -> np.ndarray:
    """Normalised embeddings float32 [n, dim] of `SAMPLES`."""
    return encoder.encode(SAMPLES)
