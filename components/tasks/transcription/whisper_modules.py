"""Whisper as two torch modules whose exported graphs are fast to run: own forward passes over transformers' weights."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Unmasked attention over [b, t, d], as one node of the exported graph; it means nothing outside of an export.

    The node is onnxruntime's MultiHeadAttention, whose blocked kernel never writes the t x t weights out.
    """
    return torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (query, key, value),
        {"num_heads": heads},
        dtype=query.dtype,
        shape=query.shape,
        version=1,
    )


def split(x: Tensor, heads: int) -> Tensor:
    """[b, t, d] to [b, heads, t, d / heads]."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    """[b, heads, t, d / heads] to [b, t, d]."""
    return x.transpose(1, 2).flatten(2)


class Packed(torch.nn.Module):
    """Query, key and value of one attention as one matrix product, with the softmax scale inside the query's part."""

    def __init__(self, attention: Any, scale: float = 1.0) -> None:
        super().__init__()
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        scales = [scale, 1.0, 1.0]
        bias = [torch.zeros(p.out_features) if p.bias is None else p.bias.detach() for p in parts]
        weight = torch.cat([p.weight.detach() * s for p, s in zip(parts, scales, strict=True)])
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.bias = torch.nn.Parameter(
            torch.cat([b * s for b, s in zip(bias, scales, strict=True)]), requires_grad=False
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[b, t, d] to query, key, value [b, t, d] each."""
        query, key, value = functional.linear(x, self.weight, self.bias).chunk(3, dim=-1)
        return query, key, value


class Encoder(torch.nn.Module):
    """mel [b, n_mels, frames] to the decoder's cross-attention keys and values, computed once a window.

    Out, for each decoder layer: key, then value [b, heads, positions, head_dim].
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.model.encoder
        self.packed = torch.nn.ModuleList(Packed(layer.self_attn) for layer in self.encoder.layers)
        self.cross = torch.nn.ModuleList(layer.encoder_attn for layer in model.model.decoder.layers)
        self.heads = model.config.encoder_attention_heads
        self.cross_heads = model.config.decoder_attention_heads

    def forward(self, mel: Tensor) -> list[Tensor]:
        """See the class."""
        x = functional.gelu(self.encoder.conv1(mel))
        x = functional.gelu(self.encoder.conv2(x)).transpose(1, 2) + self.encoder.embed_positions.weight
        for layer, packed in zip(self.encoder.layers, self.packed, strict=True):
            query, key, value = packed(layer.self_attn_layer_norm(x))
            x = x + layer.self_attn.out_proj(attend(query, key, value, self.heads))
            x = x + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(x))))
        x = self.encoder.layer_norm(x)
        out = []
        for attention in self.cross:
            out += [split(project(x), self.cross_heads) for project in (attention.k_proj, attention.v_proj)]
        return out


class Decoder(torch.nn.Module):
    """One step, or a whole prompt, of greedy or sampled decoding with a self-attention cache.

    In: tokens int64 [b, t], left-padded; pads int64 [b], how many of a row's first tokens are padding, counted from
    the row's very beginning; wanted int64 [r], at which of the t tokens logits are asked; then for each layer past
    key and past value [b, heads, p, head_dim] (p may be 0), then the encoder's outputs.
    Out: logits [b, r, vocab]; alignment [alignment heads, b, t, positions], the weights that those heads give to the
    window's positions; then for each layer key and value [b, heads, p + t, head_dim].
    """

    def __init__(self, model: Any, alignment_heads: list[tuple[int, int]]) -> None:
        super().__init__()
        self.decoder = model.model.decoder
        self.heads = model.config.decoder_attention_heads
        self.scale = (model.config.d_model // self.heads) ** -0.5
        self.packed = torch.nn.ModuleList(Packed(layer.self_attn, self.scale) for layer in self.decoder.layers)
        self.alignment_heads = alignment_heads
        self.embedding = torch.nn.Parameter(model.proj_out.weight.detach(), requires_grad=False)

    def forward(
        self, tokens: Tensor, pads: Tensor, wanted: Tensor, past: list[Tensor], cross: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See the class."""
        before, now = past[0].shape[2], tokens.shape[1]
        place = torch.arange(now) + before
        positions = (place[None] - pads[:, None]).clamp(min=0)
        x = functional.embedding(tokens, self.embedding) + self.decoder.embed_positions.weight[positions]
        keys = torch.arange(before + now)
        seen = (keys[None, None] <= place[None, :, None]) & (keys[None, None] >= pads[:, None, None])
        # Padding sees nothing and would be 0/0: a large negative number instead of -inf keeps it finite.
        mask = torch.where(seen, 0.0, -1e9)[:, None]
        weights, cache = [], []
        for at, (layer, packed) in enumerate(zip(self.decoder.layers, self.packed, strict=True)):
            query, key, value = (split(y, self.heads) for y in packed(layer.self_attn_layer_norm(x)))
            key, value = torch.cat([past[2 * at], key], dim=2), torch.cat([past[2 * at + 1], value], dim=2)
            cache += [key, value]
            x = x + layer.self_attn.out_proj(merge(self._softmax(query @ key.transpose(2, 3) + mask) @ value))
            query = split(layer.encoder_attn.q_proj(layer.encoder_attn_layer_norm(x)) * self.scale, self.heads)
            weight = self._softmax(query @ cross[2 * at].transpose(2, 3))
            weights += [weight[:, head] for where, head in self.alignment_heads if where == at]
            x = x + layer.encoder_attn.out_proj(merge(weight @ cross[2 * at + 1]))
            x = x + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(x))))
        x = self.decoder.layer_norm(x.index_select(1, wanted))
        return functional.linear(x, self.embedding), torch.stack(weights), cache

    @staticmethod
    def _softmax(scores: Tensor) -> Tensor:
        return torch.softmax(scores, dim=-1)
