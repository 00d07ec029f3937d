from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.contract.errors import SluiceError
from serving.core.onnx_encoder import OnnxEncoder, plan

TEXTS = ["read the bundle", "a", "", "the encoder turns texts into vectors " * 9, "write it whole or not at all", "a"]


@pytest.fixture(scope="module")
def encoder(tiny_data: Path) -> OnnxEncoder:
    return OnnxEncoder(tiny_data / "variants", "encoder/fp32.onnx", max_tokens=32)


def test_vectors_do_not_depend_on_the_batch_they_were_in(encoder: OnnxEncoder) -> None:
    together = encoder.encode(TEXTS, batch=4)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert together.dtype == np.float32 and together.shape == (len(TEXTS), encoder.dim)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_array_equal(together[1], together[5])


def test_vectors_have_length_one(encoder: OnnxEncoder) -> None:
    lengths = np.linalg.norm(encoder.encode(["read the bundle", "write it whole"]), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_no_texts_give_no_vectors(encoder: OnnxEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_texts_are_cut_at_max_tokens_and_tokens_counted_after_that(encoder: OnnxEncoder) -> None:
    assert encoder.count_tokens(["bundle", "bundle " * 500]).tolist() == [3, 32]


def test_threads_may_share_an_encoder(encoder: OnnxEncoder) -> None:
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(encoder.encode, [TEXTS] * 12):
            np.testing.assert_array_equal(vectors, expected)


def test_int8_stays_near_fp32(tiny_data: Path, encoder: OnnxEncoder) -> None:
    small = OnnxEncoder(tiny_data / "variants", "encoder/int8.onnx", max_tokens=32)
    texts = [text for text in TEXTS if len(text) > 1]
    assert (small.encode(texts) * encoder.encode(texts)).sum(axis=1).min() > 0.98


def test_runs_cover_every_text_once_within_batch_and_budget() -> None:
    lengths = [300, 64, 61, 60, 20, 19, 19, 8, 8, 8, 7, 7]
    runs = plan(lengths, batch=4, budget=128)
    assert [at for start, end in runs for at in range(start, end)] == list(range(len(lengths)))
    assert all(end - start <= 4 for start, end in runs)
    assert all(end == start + 1 or (end - start) * lengths[start] <= 128 for start, end in runs)


def test_one_run_for_texts_of_one_length() -> None:
    assert plan([10] * 8, batch=32, budget=512) == [(0, 8)]


@pytest.mark.parametrize(("name", "content"), [("gone.onnx", None), ("torn.onnx", b"half a model")])
def test_a_model_file_that_cannot_be_read_is_a_clear_error(tiny_data: Path, name: str, content: bytes | None) -> None:
    if content:
        (tiny_data / "variants" / "encoder" / name).write_bytes(content)
    try:
        with pytest.raises(SluiceError, match=f"{name}.*quantize the model again"):
            OnnxEncoder(tiny_data / "variants", f"encoder/{name}")
    finally:
        (tiny_data / "variants" / "encoder" / name).unlink(missing_ok=True)
