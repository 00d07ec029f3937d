"""The OpenAI embeddings route: what its clients send and expect (https://platform.openai.com/docs/api-reference/embeddings)."""

import base64
from typing import Any

import numpy as np
import orjson
from prometheus_client import Counter

from serving.contract.predictor import Encoding
from serving.contract.refusals import invalid, unknown
from serving.contract.task import EMBEDDINGS
from serving.core.batching import Work
from serving.core.call import current
from serving.core.limits import Receive, Scope, Send, send_json
from serving.core.service import Service

LONGEST_TEXT = 32_768
"""Characters of one input; an encoder reads a few hundred tokens, so more is a mistake worth telling."""


class EncodingService(Service):
    """Of a task whose predictor encodes texts (`Encoding`) and whose routes have `EMBEDDINGS`."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.routes[EMBEDDINGS.path] = self._embeddings
        self._tokens = model.metrics.make(Counter, "sluice_tokens", "Tokens read by the encoder for embeddings")

    def serve(self, predictor: Any) -> dict[str, Work]:
        """See `Service.serve`."""
        return {**super().serve(predictor), "embed": lambda texts: _embed(predictor, texts)}

    async def _embeddings(self, scope: Scope, receive: Receive, send: Send) -> None:
        model = self.model
        texts, as_base64 = parse_embeddings((await receive())["body"], model.name, model.limits.items)
        pairs = await model.submit("embed", texts)
        tokens = sum(count for _, count in pairs)
        self._tokens.inc(tokens)
        current().notes["tokens"] = tokens
        vectors = [vector for vector, _ in pairs]
        await send_json(send, 200, embeddings_body(vectors, as_base64, model.name, tokens) | model.signature())


def _embed(predictor: Encoding, texts: list[str]) -> list[tuple[np.ndarray, int]]:
    return list(zip(predictor.embed(texts), predictor.count_tokens(texts).tolist(), strict=True))


def parse_embeddings(body: bytes, model: str, items: int) -> tuple[list[str], bool]:
    """Texts to embed, and whether base64 is wanted; null and "" mean the default, as libraries send them.

    Errors: 400 with what is wrong, 404 for another model.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise invalid("the body must be a JSON object with 'input' and 'model'")
    if (request.get("model") or model) != model:
        raise unknown(f"no model {str(request['model'])[:100]!r}; this server serves {model!r}")
    texts = request.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise invalid("'input' must be a text or a list of texts, and not empty")
    if len(texts) > items:
        raise invalid(f"'input' holds {len(texts)} texts; at most {items} a request")
    for at, text in enumerate(texts):
        _check(text, at)
    form = request.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise invalid("'encoding_format' must be 'float' or 'base64'")
    if request.get("dimensions") not in (None, ""):
        raise invalid("'dimensions' is not supported: vectors come in the model's own size")
    return texts, form == "base64"


def _check(text: Any, at: int) -> None:
    if not isinstance(text, str):
        raise invalid(f"input {at} is not a text (token lists are not supported)")
    if not text.strip():
        raise invalid(f"input {at} is empty")
    if len(text) > LONGEST_TEXT:
        raise invalid(f"input {at} has {len(text)} characters; at most {LONGEST_TEXT}")


def embeddings_body(vectors: list[np.ndarray], as_base64: bool, model: str, tokens: int) -> dict[str, Any]:
    """The answer's body; vectors float32 [dim] each, in base64 as little-endian float32 if asked."""
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_base64 else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
