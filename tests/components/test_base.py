import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kfp.dsl import Model
from tiny_encoder import make_source

from components.base.component import base
from components.base.encoder import TorchEncoder, pool
from components.base.fetch import check_sha256, fetch_base, minilm_directory
from components.base.spec import read_spec
from serving.errors import SluiceError


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    target = tmp_path_factory.mktemp("minilm") / "base"
    base.python_func(base_model="minilm", task="retrieval", model=Model(uri=str(target)))
    return target


def test_minilm_comes_from_its_package_as_one_plain_directory(minilm):
    spec = read_spec(minilm)
    assert (spec.pooling, spec.normalize, spec.max_tokens, spec.dim) == ("mean", True, 256, 384)
    assert spec.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert {"config.json", "model.safetensors", "tokenizer.json", "sluice.json"} <= {p.name for p in minilm.iterdir()}
    tokenizer = json.loads((minilm / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None and tokenizer["padding"] is None


def test_minilm_finds_the_passage_that_answers(minilm):
    encoder = TorchEncoder(minilm)
    question, right, wrong = encoder.encode(
        ["How do I resize an image?", "Scale a picture to a new size.", "Sort a list."]
    )
    assert question @ right > question @ wrong + 0.2
    assert np.allclose(np.linalg.norm([question, right, wrong], axis=1), 1, atol=1e-5)


def test_embeddings_depend_neither_on_padding_nor_on_order(minilm):
    encoder = TorchEncoder(minilm)
    texts = ["short", "a much longer text " * 12, "of middling length, this one"]
    together, alone = encoder.encode(texts, batch=2), np.concatenate([encoder.encode([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    assert encoder.encode([]).shape == (0, 384)


def test_changed_weights_are_refused(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"not the official ones")
    with pytest.raises(SluiceError, match="not the official"):
        check_sha256(weights, "0" * 64)
    assert (minilm_directory() / "config.json").is_file()


def test_first_token_pooling_and_window_of_an_xlm_r_are_read_from_its_files(tmp_path):
    source = make_source(tmp_path / "source", "xlm-roberta", pooling="cls")
    spec = fetch_base(str(source), tmp_path / "base")
    assert (spec.pooling, spec.dim, spec.max_tokens) == ("cls", 32, 128)
    vectors = TorchEncoder(tmp_path / "base").encode(["one", "another text"])
    assert vectors.shape == (2, 32)


def test_first_token_pooling_takes_the_first_token():
    spec = read_like("cls", normalize=False)
    hidden = torch.arange(12.0).reshape(2, 3, 2)
    assert torch.equal(pool(hidden, torch.ones(2, 3), spec), hidden[:, 0])


def read_like(pooling, normalize):
    from components.base.spec import Spec

    return Spec(base_model="x", pooling=pooling, normalize=normalize, max_tokens=3, dim=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]'), "Dense"),
        (lambda d: (d / "1_Pooling/config.json").write_text('{"pooling_mode_max_tokens": true}'), "max_tokens"),
        (lambda d: (d / "config.json").unlink(), "no such directory with a config.json"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_in_one_sentence_and_leaves_nothing(tmp_path, change, words):
    source = make_source(tmp_path / "source", pooling="mean")
    change(source)
    with pytest.raises(SluiceError, match=words):
        fetch_base(str(source), tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_an_unreachable_hub_is_one_clear_sentence(tmp_path):
    code = "from pathlib import Path; from components.base.fetch import fetch_base\n"
    code += "from serving.errors import SluiceError\n"
    code += "try: fetch_base('nobody/no-such-encoder', Path('base'))\nexcept SluiceError as error: print(error)"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=offline, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "nobody/no-such-encoder" in done.stdout and "name a local directory" in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_directory_without_sluice_json_is_named(tmp_path):
    with pytest.raises(SluiceError, match=r"no sluice\.json"):
        TorchEncoder(Path(tmp_path))
