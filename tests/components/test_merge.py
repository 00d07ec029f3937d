import json
import shutil

import numpy as np
import pytest
from kfp.dsl import Metrics, Model
from tiny_encoder import make_base

from components.common.encoder import SAMPLES, TorchEncoder
from components.common.lora import add_adapter, save_adapter
from components.common.spec import read_spec
from components.merge.component import merge
from components.merge.run import check
from components.merge.run import merge as merge_files
from components.train.settings import Hyperparameters
from serving.contract.errors import SluiceError


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A base, and an adapter on it whose weights are random, so that it really changes the embeddings."""
    import torch

    folder = tmp_path_factory.mktemp("merge")
    base = make_base(folder)
    encoder = TorchEncoder(base)
    for parameter in add_adapter(encoder, Hyperparameters(rank=4, alpha=8), seed=1):
        torch.nn.init.normal_(parameter, std=0.3)
    save_adapter(encoder, encoder.spec.base_model, folder / "adapter")
    encoder.model.eval()
    return base, folder / "adapter", encoder.encode(SAMPLES)


def test_the_merged_encoder_is_the_adapter_on_its_base(room, tmp_path):
    base, adapter, wanted = room
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    target = Model(uri=str(tmp_path / "merged"))
    merge.python_func(base=Model(uri=str(base)), adapter=Model(uri=str(adapter)), merged=target, metrics=metrics)
    found = TorchEncoder(target.path).encode(SAMPLES)
    assert np.abs(found - wanted).max() < 1e-4
    assert np.abs(found - TorchEncoder(base).encode(SAMPLES)).max() > 0.01
    assert metrics.metadata["max_abs_difference"] < 1e-4 and metrics.metadata["mean_shift_cosine"] < 0.9999
    spec = read_spec(target.path)
    assert spec.adapter["rank"] == 4 and spec.adapter["target_modules"] == ["dense", "key", "query", "value"]
    assert spec.model_copy(update={"adapter": None}) == read_spec(base)


def test_embeddings_that_changed_stop_the_merge(room):
    base, _, wanted = room
    with pytest.raises(SluiceError, match="outputs differ"):
        check(base, wanted)


def test_an_adapter_of_another_base_or_none_is_refused_and_nothing_is_written(room, tmp_path):
    base, adapter, _ = room
    other = tmp_path / "other"
    shutil.copytree(adapter, other)
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "BAAI/bge-m3"}))
    with pytest.raises(SluiceError, match="trained on BAAI/bge-m3"):
        merge_files(base, other, tmp_path / "merged")
    with pytest.raises(SluiceError, match="no adapter to merge"):
        merge_files(base, base, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
