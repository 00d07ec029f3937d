"""A server that cannot start says why, in one sentence."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model-dir", "/nowhere"], "no bundle.json"),
        (["--model-dir", "/nowhere", "--max-batch", "0"], "--max-batch 0: must be above 0"),
        (["--model-dir", "/nowhere", "--http-port", "a"], "invalid int value"),
    ],
)
def test_a_wrong_start_is_one_sentence_and_exit_code_2(flags: list[str], sentence: str) -> None:
    command = [sys.executable, "-m", "serving", "--model-name", "codebase", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_corrupt_bundle_and_a_taken_port_are_one_sentence_and_exit_code_2(tiny_bundle: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, broken)
    (broken / "encoder" / "int8.onnx").write_bytes(b"nonsense")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for bundle, http, sentence in ((broken, "0", "int8.onnx"), (tiny_bundle, port, "cannot listen")):
            command = [sys.executable, "-m", "serving", "--model-name", "codebase", "--model-dir", str(bundle)]
            command += ["--host", "127.0.0.1", "--grpc-port", "0", "--http-port", http]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 2, done.stderr
            assert sentence in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr


def test_a_home_that_cannot_be_written_is_one_sentence_and_exit_code_2(tiny_bundle: Path) -> None:
    command = [sys.executable, "-m", "serving", "--model-name", "codebase", "--model-dir", str(tiny_bundle)]
    command += ["--host", "127.0.0.1", "--grpc-port", "0", "--http-port", "0"]
    home = os.environ | {"SLUICE_HOME": "/proc/sluice"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=home)
    assert done.returncode == 2, done.stderr
    assert "SLUICE_HOME" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
