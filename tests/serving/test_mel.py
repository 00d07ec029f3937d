import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from serving.transcription.mel import log_mel, log_mel_batch


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.234, 5.99, 6.0, 8.0])
def test_features_are_those_of_transformers(seconds: float) -> None:
    noise = np.random.default_rng(3)
    times = np.arange(int(seconds * 16000)) / 16000
    samples = (0.3 * np.sin(2 * np.pi * 440 * times) + 0.01 * noise.standard_normal(len(times))).astype(np.float32)
    theirs = WhisperFeatureExtractor(feature_size=80, chunk_length=6)
    padded = samples if len(samples) else np.zeros(1, np.float32)
    expected = theirs(padded, sampling_rate=16000, return_tensors="np").input_features[0]
    found = log_mel(samples, frames=600)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_128_mels_for_the_large_models() -> None:
    samples = np.random.default_rng(1).standard_normal(20000).astype(np.float32) * 0.1
    theirs = WhisperFeatureExtractor(feature_size=128, chunk_length=30)
    expected = theirs(samples, sampling_rate=16000, return_tensors="np").input_features[0]
    np.testing.assert_allclose(log_mel(samples, n_mels=128), expected, atol=1e-4)


def test_a_batch_is_its_windows_one_by_one() -> None:
    windows = [np.full(n, 0.1, np.float32) for n in (100, 5000, 99999)]
    batch = log_mel_batch(windows, frames=200)
    assert batch.shape == (3, 80, 200)
    np.testing.assert_array_equal(batch[1], log_mel(windows[1], frames=200))
