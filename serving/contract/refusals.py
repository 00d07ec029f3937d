"""Why a request was not answered: an HTTP status, one sentence for people, and how to say it on each protocol."""

import re
from http import HTTPStatus
from typing import Any

from serving.contract.errors import SluiceError


class Refused(SluiceError):
    """A request that gets no answer: ``status`` (HTTP), the sentence, and headers such as Retry-After.

    ``blamed``: it says something of its client alone, so objectives of the service do not count it.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None, blamed: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.blamed = status, blamed
        self.headers = headers or {}


def invalid(sentence: str) -> Refused:
    """400: what is wrong with the request and what is expected."""
    return Refused(400, sentence)


def unknown(sentence: str) -> Refused:
    """404: there is no such model, route or id."""
    return Refused(404, sentence)


def too_large(limit: int, mend: str = "send fewer or shorter inputs") -> Refused:
    """413: the body is over ``limit`` bytes; ``mend`` says what to do instead."""
    return Refused(413, f"the request body is larger than {limit} bytes; {mend}")


def busy(what: str, retry_after: int = 1) -> Refused:
    """429: come back in ``retry_after`` seconds."""
    return Refused(429, f"{what}; try again in {retry_after} s", {"retry-after": str(retry_after)})


def crowded(what: str) -> Refused:
    """429 for a client that has its share, whatever room others have left."""
    return Refused(429, f"{what}; try again in 5 s", {"retry-after": "5"}, blamed=True)


def slow(sentence: str) -> Refused:
    """408: the request did not arrive in time."""
    return Refused(408, sentence, blamed=True)


def gone(sentence: str) -> Refused:
    """499, as nginx counts it: the client hung up, so nobody hears this."""
    return Refused(499, sentence, blamed=True)


def not_ready(sentence: str) -> Refused:
    """503: the server is loading or going away."""
    return Refused(503, sentence, {"retry-after": "1"})


def too_late(seconds: float) -> Refused:
    """504: no answer within the deadline."""
    return Refused(504, f"no answer within the deadline of {seconds:g} s; try again or send less at once")


def failed(request_id: str) -> Refused:
    """500: something nobody foresaw; people get the id, the log gets the details."""
    return Refused(500, f"the server failed on this request; its log tells more under id {request_id}")


def explain(error: BaseException) -> Refused | None:
    """The refusal that an exception stands for; ``None`` for one that nobody foresaw (a 500, told to the log only)."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, SluiceError):
        return Refused(int(getattr(error, "status", 400)), str(error))
    name, text = type(error).__name__, str(getattr(error, "reason", "") or error)
    # KServe's and FastAPI's exceptions by name: this module is imported before either of them is.
    if name in ("InvalidInput", "InferenceError", "UnsupportedProtocol"):
        return invalid(_sentence(text))
    if name == "ModelNotFound":
        return unknown(_sentence(text))
    if name in ("ModelNotReady", "ServerNotReady", "ServerNotLive"):
        return not_ready(_sentence(text))
    if name == "NotImplementedError":
        return unknown("this model offers neither versions nor explanations; call :predict or /infer without a version")
    if name == "RequestValidationError":
        return invalid(_first_of(error))
    if name == "HTTPException":
        return _of_http(error)
    return None


def _of_http(error: BaseException) -> Refused:
    status = int(getattr(error, "status_code", 400))
    sentence = {
        404: "no such route; see /v2 for the server and /v2/models for its models",
        405: "this route does not take this method",
    }
    if status >= 500:
        return Refused(status, HTTPStatus(status).phrase.lower())
    return Refused(status, sentence.get(status, _sentence(str(getattr(error, "detail", "bad request")))))


def _first_of(error: Any) -> str:
    """The first complaint of a pydantic validation, as a sentence without the input that caused it."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "InferenceRequest", "bytes"))
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}"
    return f"{where or 'the body'}: {first['msg']}"


def _sentence(text: str, limit: int = 300) -> str:
    """One line of bounded length, since clients' own input may stand in it."""
    text = re.sub(r"\s+", " ", text).strip() or "bad request"
    return text if len(text) <= limit else text[:limit] + "…"
