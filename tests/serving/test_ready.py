"""The health check of a container, against a real server and against none."""

from pathlib import Path

import pytest
from test_server import free_port, start

from serving.core.ready import main


def test_the_health_check_passes_once_the_model_is_ready(tiny_bundle: Path, tmp_path: Path) -> None:
    live = start(tiny_bundle, tmp_path)
    try:
        assert main(["--http-port", live.url.rsplit(":", 1)[1]]) == 0
    finally:
        live.process.terminate()
        live.process.wait(40)


def test_the_health_check_fails_and_says_why_where_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--http-port", str(free_port())]) == 1
    assert "Connection refused" in capsys.readouterr().err


def test_a_model_that_is_not_ready_fails_the_health_check(capsys: pytest.CaptureFixture[str]) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Starting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(503 if self.path.endswith("/ready") else 200)
            self.end_headers()
            self.wfile.write(b'{"models": ["codebase"]}')

        def log_message(self, *said: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Starting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        code = main(["--http-port", str(server.server_port)])
        server.shutdown()
    assert code == 1 and "503" in capsys.readouterr().err
