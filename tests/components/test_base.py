import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from kfp.dsl import Model
from tiny_encoder import make_source

from components.base.component import base
from components.base.fetch import fetch_base, minilm_directory
from components.common.encoder import TorchEncoder, pool
from components.common.origin import check_sha256
from components.common.spec import read_spec
from serving.contract.errors import SluiceError


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
    from components.common.spec import Spec

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
    code += "from serving.contract.errors import SluiceError\n"
    code += "try: fetch_base('nobody/no-such-encoder', Path('base'))\nexcept SluiceError as error: print(error)"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=offline, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "nobody/no-such-encoder" in done.stdout and "name a local directory" in done.stdout
    assert done.stdout.count("\n") == 1


class Hub(BaseHTTPRequestHandler):
    """The Hugging Face hub's own routes for one model of two commits; ``asked`` keeps what was asked for."""

    commits: ClassVar[dict[str, Path]] = {}
    asked: ClassVar[list[str]] = []
    token = ""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.asked.append(self.path)
        path = unquote(self.path.partition("?")[0])
        commit, content, headers = "", b"{}", {}
        if told := re.fullmatch(r"/api/models/own/tiny(?:/revision/(.+))?", path):
            commit = {None: "a" * 40, "main": "a" * 40}.get(told[1], told[1])
            content = json.dumps({"id": "own/tiny", "sha": commit}).encode()
        elif told := re.fullmatch(r"/api/models/own/tiny/tree/([^/]+)", path):
            commit = told[1]
            content = json.dumps([listed(self.commits[commit], file) for file in walked(self.commits[commit])]).encode()
        elif told := re.fullmatch(r"/own/tiny/resolve/([^/]+)/(.+)", path):
            commit = told[1]
            content = (self.commits[commit] / told[2]).read_bytes() if commit in self.commits else b""
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        status = 200 if commit in self.commits else 404
        if status == 404:
            headers = {"X-Error-Code": "RevisionNotFound"}
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            status, headers = 401, {"X-Error-Code": "GatedRepo"}
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


def walked(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def listed(directory: Path, file: Path) -> dict:
    about = {"path": str(file.relative_to(directory)), "size": file.stat().st_size}
    return {"type": "file", "oid": hashlib.sha1(file.read_bytes()).hexdigest(), **about}


PINNED, BRANCH = f"own/tiny@{'b' * 40}", "own/tiny@no-such-branch"
FETCH = """
import sys
from pathlib import Path
from components.base.fetch import fetch_base
from serving.contract.errors import SluiceError
for number, name in enumerate(sys.argv[1:]):
    try:
        fetch_base(name, Path(str(number)))
    except SluiceError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Fetches names from a hub of our own, in one process of their own: sluice.json by name, and what went wrong."""
    place = tmp_path_factory.mktemp("hub")
    for commit, pooling in (("a" * 40, "mean"), ("b" * 40, "cls")):
        Hub.commits[commit] = make_source(place / commit, pooling=pooling)
        (Hub.commits[commit] / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def fetched(*names: str) -> tuple[dict[str, dict], str]:
        own = tmp_path_factory.mktemp("fetched")
        env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(own / "hf")}
        command = [sys.executable, "-c", FETCH, *names]
        done = subprocess.run(command, env=env, cwd=own, capture_output=True, text=True, check=True)
        described = [own / str(number) / "sluice.json" for number in range(len(names))]
        found = {name: json.loads(at.read_text()) for name, at in zip(names, described, strict=True) if at.is_file()}
        return found, done.stdout

    yield fetched
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def open_hub(hub):
    """What a hub that wants no token gives."""
    return hub("own/tiny", PINNED, BRANCH)


def test_a_hub_id_is_pinned_to_the_commit_that_it_meant(open_hub):
    spec = open_hub[0]["own/tiny"]
    assert (spec["base_model"], spec["pooling"], spec["license"]) == (f"own/tiny@{'a' * 40}", "mean", "mit")
    weights = (Hub.commits["a" * 40] / "model.safetensors").read_bytes()
    assert spec["weights"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert not [path for path in Hub.asked if "/resolve/main/" in path], "a branch can move between two files"


def test_a_hub_id_takes_a_revision(open_hub):
    found, told = open_hub
    assert found[PINNED]["pooling"] == "cls" and BRANCH not in found
    assert BRANCH in told and "its revision" in told and told.count("\n") == 1


def test_a_gated_model_is_asked_for_with_the_token_in_the_environment(hub, monkeypatch):
    monkeypatch.setattr(Hub, "token", "hf_of_ours")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    found, told = hub("own/tiny")
    assert "set HF_TOKEN where it wants one" in told and not found
    monkeypatch.setenv("HF_TOKEN", "hf_of_ours")
    found, told = hub("own/tiny")
    assert found["own/tiny"]["base_model"] == f"own/tiny@{'a' * 40}" and not told


def test_a_directory_without_sluice_json_is_named(tmp_path):
    with pytest.raises(SluiceError, match=r"no sluice\.json"):
        TorchEncoder(Path(tmp_path))
