import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.load import load


def test_reads_back_what_it_wrote(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.read(tiny_bundle)
    bundle.write(tmp_path)
    assert Bundle.read(tmp_path) == bundle


def test_says_what_a_directory_without_bundle_lacks(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"no bundle\.json; name a bundle directory"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"format": 2}', "[]"])
def test_refuses_what_is_no_bundle_of_this_format(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(SluiceError, match="not a bundle of format 1"):
        load(tmp_path)


def test_names_the_tasks_it_can_serve(tiny_bundle: Path, tmp_path: Path) -> None:
    data = json.loads((tiny_bundle / "bundle.json").read_text()) | {"task": "juggling"}
    (tmp_path / "bundle.json").write_text(json.dumps(data))
    with pytest.raises(SluiceError, match="unknown task 'juggling'; this version serves highlights, retrieval"):
        load(tmp_path)


def test_names_the_variants_it_has(tiny_bundle: Path) -> None:
    with pytest.raises(SluiceError, match="no variant 'int4' in this bundle; it has fp32, int8"):
        load(tiny_bundle, variant="int4")


@pytest.mark.parametrize(
    "part",
    ["encoder/int8.onnx", "tokenizer.json", "ranker.json", "index/vectors.npy", "index/sentences.parquet",
     "index/snapshot.parquet", "index/bm25/weights.npy"],
)  # fmt: skip
def test_a_missing_part_is_one_clear_error(tiny_bundle: Path, tmp_path: Path, part: str) -> None:
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    (broken / part).unlink()
    with pytest.raises(SluiceError, match="again"):
        load(broken)


def test_serving_loads_neither_torch_nor_the_training_floor(tiny_bundle: Path) -> None:
    heavy = "{'torch', 'feast', 'mlflow', 'kfp', 'bm25s', 'scipy', 'transformers', 'components', 'pipelines'}"
    code = (
        f"import sys; from serving.contract.load import load; p = load({str(tiny_bundle)!r}); p.warm(); p.close(); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
