"""What stands in a v2 request becomes instances, or is refused: nothing is guessed."""

from typing import Any

import orjson
import pytest

from serving.contract.refusals import Refused
from serving.core.tensors import instances_of, request_of
from serving.retrieval.schema import INPUTS


def body(parameters: Any = None, more: Any = None, **change: Any) -> bytes:
    tensor = {"name": "question", "datatype": "BYTES", "shape": [1], "data": ["q"], "parameters": parameters} | change
    return orjson.dumps({"inputs": [tensor], **(more or {})})


def read(content: bytes, json_length: str | None = None) -> list[dict[str, Any]]:
    return instances_of(request_of(content, json_length, "m"), INPUTS)


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_empty_members_count_as_left_out(nothing: Any) -> None:
    more = {"id": nothing, "outputs": nothing, "parameters": nothing}
    assert read(body(nothing, more)) == read(body()) == [{"question": "q"}]
    assert read(body({"binary_data_size": nothing}, {"parameters": {"top_k": nothing}})) == [{"question": "q"}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "not JSON"), (b"[]", "'inputs'"), (b'{"inputs": null}', "'inputs'"), (b'{"inputs": [[]]}', "'name'"),
        (body(shape=[True]), "whole numbers"), (body(shape=["1"]), "whole numbers"), (body(shape=1), "whole numbers"),
        (body(shape=[1.0]), "whole numbers"), (body(shape=[2**63]), "holds 1"), (body(datatype=None), "'datatype'"),
        (body(data=None), "either 'data' or"), (body(data="q"), "a list"), (body(data={"q": 1}), "a list"),
        (body(name="question" * 100), "200 characters"), (body(name=7), "'name'"), (body([]), "an object"),
        (body({"binary_data_size": 5}), "either 'data' or"), (body(None, {"outputs": {}}), "a list"),
        (body(None, {"outputs": [{"name": "answer"}] * 2}), "twice"), (body(None, {"id": 5}), "a text"),
        (body(None, {"parameters": {"binary_data_output": "yes"}}), "true or false"),
        (body(None, {"outputs": [{"name": "answer", "parameters": {"binary_data": 1}}]}), "true or false"),
    ],
)  # fmt: skip
def test_a_malformed_request_gets_a_sentence(content: bytes, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as refused:
        read(content)
    assert refused.value.status == 400


@pytest.mark.parametrize("size", [2**40, 5.0, "5", True, -5, 0, 4, 6, [5]])
def test_a_tensor_gets_no_bytes_that_were_never_sent(size: Any) -> None:
    head = body({"binary_data_size": size}, data=None)
    with pytest.raises(Refused) as refused:
        read(head + b"\1\0\0\0q", str(len(head)))
    assert refused.value.status == 400


@pytest.mark.parametrize("length", ["0", "-1", "1_0", "9" * 5000, "٣", "5.0"])
def test_the_length_of_the_json_is_checked(length: str) -> None:
    with pytest.raises(Refused, match="Inference-Header-Content-Length"):
        read(body(), length)


def test_texts_come_as_bytes_behind_the_json() -> None:
    head, text = body({"binary_data_size": 10}, data=None), "größ".encode()
    assert read(head + len(text).to_bytes(4, "little") + text, str(len(head))) == [{"question": "größ"}]
    with pytest.raises(Refused, match="not UTF-8"):
        read(head + b"\6\0\0\0\xffabcde", str(len(head)))
