"""What strangers try on a laptop's ports: web pages, other users, clients that never end what they begin."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from urllib.error import HTTPError, URLError

import pytest
import uvloop
from aiohttp import web
from kubernetes.config import new_client_from_config
from laptop_driver import GROUP, ask, run_laptop

from serving.laptop import listener
from serving.laptop.router import Router, Upstream

RUNTIMES = f"/apis/{GROUP}/v1alpha1/namespaces/default/servingruntimes"
SERVICES = f"/apis/{GROUP}/v1beta1/namespaces/default/inferenceservices"
RUNTIME = {"metadata": {"name": "evil"}, "spec": {"containers": [{"name": "kserve-container", "command": ["sh"]}]}}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    yield from run_laptop(tmp_path_factory.mktemp("laptop"), 18900)


@pytest.fixture(scope="module")
def token(laptop):
    return json.loads(laptop.info.kubeconfig.read_text())["users"][0]["user"]["token"]


def test_kubectl_reads_and_writes_with_the_kubeconfig_over_tls_that_nobody_else_can_speak_for(laptop):
    def kubectl(*words, given=""):
        command = [shutil.which("kubectl"), "--kubeconfig", str(laptop.info.kubeconfig), *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)

    made = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ServingRuntime", **RUNTIME}
    made["spec"]["containers"][0]["image"] = "x:1"
    assert "created" in kubectl("apply", "--validate=false", "-f", "-", given=json.dumps(made)).stdout
    assert "serving.kserve.io/evil" in kubectl("get", "servingruntimes", "-o", "name").stdout
    assert "deleted" in kubectl("delete", "servingruntime", "evil").stdout
    # Without TLS kubectl sends no token.
    assert "must be logged in" in kubectl("--context", "laptop-plain", "get", "isvc").stderr
    config = json.loads(laptop.info.kubeconfig.read_text())
    (secure,) = [c["cluster"] for c in config["clusters"] if "certificate-authority-data" in c["cluster"]]
    with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
        status(secure["server"])


def status(url, method="GET", body=None, **headers):
    """Status and headers of one request by a client that adds nothing of its own but a Host."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, given, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def test_kubeconfig_and_state_are_their_owners_alone_and_the_token_is_new_at_every_start(laptop, token):
    for name in ("kubeconfig", "state.json"):
        assert stat.S_IMODE(os.stat(laptop.info.kubeconfig.with_name(name)).st_mode) == 0o600
    assert len(token) >= 40
    client = new_client_from_config(str(laptop.info.kubeconfig))
    assert client.configuration.api_key["authorization"] == f"Bearer {token}"
    client.close()
    assert token not in (laptop.home / "control.json").read_text()


@pytest.mark.parametrize("path", ["/apis", "/version", "/", RUNTIMES, f"{SERVICES}?watch=1", f"/readyz/..{SERVICES}"])
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Bearer x", "Basic {}", "{}", "bearer\xff {}"])
def test_no_path_of_the_api_answers_without_the_token(laptop, token, path, given):
    code, told = status(laptop.info.api + path, Authorization=given.format(token[:-1]))
    assert (code, told["reason"], told["kind"]) == (401, "Unauthorized", "Status")


def test_a_runtime_that_a_page_or_another_user_posts_is_refused_and_not_there(laptop, token):
    url, own = laptop.info.api + RUNTIMES, f"Bearer {token}"
    body = json.dumps(RUNTIME).encode()
    json_ = {"Content_Type": "application/json"}
    assert status(url, "POST", body, **json_)[0] == 401
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/json"):
        assert status(url, "POST", body, Authorization=own, Content_Type=kind)[0] == 415
    assert status(url, "DELETE", body, Authorization=own, Content_Type="text/plain")[0] == 415
    assert status(f"{url}/tiny", "PATCH", b"{}", Authorization=own, Content_Type="application/json")[0] == 415
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example"):
        assert status(url, "POST", body, Authorization=own, Host=host, **json_)[0] == 421
    for origin in ("http://evil.example", "null", laptop.info.api):
        assert status(url, "POST", body, Authorization=own, Origin=origin, **json_)[0] == 403
    assert status(url, "GET", Authorization=own, Sec_Fetch_Site="cross-site")[0] == 403
    assert [o["metadata"]["name"] for o in status(url, Authorization=own)[1]["items"]] == ["tiny"]
    assert status(url, "POST", body, Authorization=own, Content_Type="application/json; charset=utf-8")[0] == 201
    assert status(f"{url}/evil", "DELETE", Authorization=own)[0] == 200
    assert status(f"{laptop.info.api}/readyz") == (200, {"status": "ok"})


def test_peers_and_the_router_answer_programs_and_their_own_pages_only(laptop):
    url = laptop.create("ours", laptop.model("private"))
    host, peer = url.removeprefix("http://"), f"{laptop.info.api}/peers/ours/predict"
    assert ask(peer.removesuffix("/predict"))[1]["answer"] == ask(url)[1]["answer"] == "private"
    for name in (host, host.replace("127.0.0.1", "LocalHost"), "[::1]:8080", "localhost"):
        assert status(f"{url}/predict", "POST", b"{}", Host=name, Origin=f"http://{name}")[0] == 200
        assert status(peer, "POST", b"{}", Host=name)[0] == 200
    for origin in ("http://evil.example", "null", url.replace("127.0.0.1", "localhost"), f"{url}.evil.example"):
        for place in (f"{url}/predict", peer):
            assert status(place, "POST", b"{}", Origin=origin)[0] == 403
    assert status(peer, "POST", b"{}", Origin=laptop.info.api)[0] == 403
    for name in ("rebound.example", "rebound.example:18900", "127.0.0.1.", "0.0.0.0", "127.0.0.1@evil.example"):
        for place in (url, laptop.info.api + "/peers/ours/"):
            assert status(place, Host=name)[0] == 421
    for head in (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n"):
        assert b" 400 " in said(host, head + b"\r\n").partition(b"\r\n")[0]
    for target in (b"@evil.example/", b"http://evil.example/", b"*", b"evil.example:80"):
        for method in (b"GET ", b"OPTIONS ", b"CONNECT "):
            answer = said(host, method + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 400 " in answer.partition(b"\r\n")[0], (method, target)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_the_control_plane_listens_on_loopback_or_says_in_one_sentence_why_not(host, tmp_path):
    command = [sys.executable, "-m", "serving.laptop", "--home", str(tmp_path), "--host", host]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: --host") and ended.stderr.count("\n") == 1 and "loopback" not in ended.stdout
    assert "SSH tunnel" in ended.stderr


@contextlib.contextmanager
def routed():
    """A router in front of one server that says how many bytes it got; the port."""

    async def count(request):
        return web.json_response({"bytes": len(await request.read())})

    async def serve(up, down):
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", count)
        runner = web.AppRunner(app, max_line_size=1 << 20)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream, router = Upstream("r1"), Router("asks")
        upstream.address, upstream.ready = f"http://127.0.0.1:{runner.addresses[0][1]}", True
        router.route({"r1": upstream}, {"r1": 100})
        await router.listen("127.0.0.1", port)
        up.set()
        await asyncio.to_thread(down.wait)
        await router.close()
        await upstream.close()
        await runner.cleanup()

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    up, down = threading.Event(), threading.Event()

    def run():
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the control plane does
            runner.run(serve(up, down))

    thread = threading.Thread(target=run)
    thread.start()
    assert up.wait(20)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        down.set()
        thread.join(20)


def connect(host, sent=b""):
    name, _, port = host.rpartition(":")
    line = socket.create_connection((name, int(port)), timeout=20)
    line.sendall(sent)
    return line


def said(host, sent=b"", line=None):
    """All that comes until the server closes."""
    line, parts = line or connect(host, sent), []
    with contextlib.suppress(ConnectionResetError):
        while part := line.recv(1 << 16):
            parts.append(part)
    line.close()
    return b"".join(parts)


def half(size=1000, path=b"/v1/models/m:predict"):
    return b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\nx" % size


def test_the_router_answers_to_a_name_that_was_allowed_and_to_pages_under_it(monkeypatch):
    monkeypatch.setenv("SLUICE_ALLOWED_HOSTS", "models.example, other.example:8080")
    with routed() as host:
        for name in ("models.example", "Models.example:443", "other.example", "localhost"):
            assert status(f"http://{host}/", "POST", b"{}", Host=name, Origin=f"https://{name}")[0] == 200
        assert status(f"http://{host}/", "POST", b"{}", Host="models.example", Origin="https://evil.example")[0] == 403
        for name in ("evil.example", "models.example.evil.example", "x.models.example"):
            assert status(f"http://{host}/", Host=name)[0] == 421


def test_heads_end_at_64_kb_whole_or_in_pieces_and_others_are_answered_meanwhile(monkeypatch):
    monkeypatch.setattr(listener, "_LINGER_S", 0.3)
    with routed() as host:
        fits = b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert said(host, fits).startswith(b"HTTP/1.1 200 ")
        assert said(host, b"GET /" + b"a" * 66_000).startswith(b"HTTP/1.1 414 ")
        many = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(70))
        assert said(host, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 431 ")
        endless = connect(host, b"GET /")
        until = time.monotonic() + 20
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < until:
                endless.sendall(b"a" * 4096)
                assert ask(f"http://{host}")[0] == 200
        assert time.monotonic() < until
        endless.close()


def test_a_head_that_does_not_come_is_a_408_and_a_silent_connection_is_closed(monkeypatch):
    monkeypatch.setattr(listener, "HEAD_S", 0.5)
    with routed() as host:
        assert said(host, b"GET / HTTP/1.1\r\nHost: loc").startswith(b"HTTP/1.1 408 ")
        assert said(host) == b""
        whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        line = connect(host, whole)
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        time.sleep(1.2)  # one that has asked before may keep its connection
        line.sendall(whole)
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        line.sendall(whole[:-2])
        assert said(host, line=line).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("size", [1000, 10_000_000])
def test_a_body_that_does_not_come_is_a_408_and_one_that_keeps_its_rate_is_taken(monkeypatch, size):
    monkeypatch.setattr(listener, "FIRST_S", 0.6)
    with routed() as host:
        assert said(host, half(size)).startswith(b"HTTP/1.1 408 ")
        chunked = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
        assert said(host, chunked).startswith(b"HTTP/1.1 408 ")
        line = connect(host, half(120_000))
        for _ in range(10):  # three times as long as the patience of one that sends nothing
            time.sleep(0.2)
            line.sendall(b"x" * 12_000)
        line.settimeout(5)
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        line.close()


def test_600_half_sent_bodies_and_heads_end_and_healthy_requests_are_answered(monkeypatch, caplog):
    monkeypatch.setattr(listener, "SILENT_S", 0.2)
    with routed() as host:
        for begun in (lambda n: half(1000 if n % 2 else 1 << 20), lambda n: b"GET / HTTP/1.1\r\nHost: loc"):
            lines = [connect(host, begun(n)) for n in range(600)]
            assert [ask(f"http://{host}")[0] for _ in range(20)] == [200] * 20
            ended, until = 0, time.monotonic() + 10
            while ended < 600 - listener.UNFINISHED and time.monotonic() < until:  # the others have ten seconds
                time.sleep(0.1)
                ended = sum(over(line) for line in lines)
            assert ended >= 600 - listener.UNFINISHED
            for line in lines:
                line.close()
        monkeypatch.setattr(listener, "FIRST_S", 0.2)
        assert said(host, half()).startswith(b"HTTP/1.1 408 ")
    assert not [record for record in caplog.records if record.name == "sluice.laptop"]


def over(line):
    line.setblocking(False)
    try:
        return line.recv(1, socket.MSG_PEEK) in (b"H", b"")
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
