"""Who may ask: Host and Origin, keys, what a proxy says of its users; over real sockets, HTTP and gRPC."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from threaded import Live, serving
from toy_listener import ToyListener, wav

from serving.contract.access import Access, bearer, read_access
from serving.contract.errors import SluiceError
from serving.core.limits import Limits

ANNA, BERT = "anna-0123456789abcdef", "bert-fedcba9876543210"
PREDICT = "/v1/models/ears:predict"
RULES = {"SLUICE_API_KEYS": f"anna:{ANNA}, bert:{BERT}", "SLUICE_IDENTITY_HEADER": "X-Auth-Email",
         "SLUICE_TRUSTED_PROXIES": "127.0.0.9/32"}  # fmt: skip
INFER = "/inference.GRPCInferenceService/"


@pytest.fixture(scope="module")
def open_house() -> Iterator[Live]:
    with serving(ToyListener(), "ears", Limits()) as live:
        yield live


@pytest.fixture(scope="module")
def guarded() -> Iterator[Live]:
    with serving(ToyListener(), "ears", Limits(), access=read_access(RULES)) as live:
        yield live


def raw(url: str, *headers: str, target: str = "/capabilities", source: str = "127.0.0.1") -> int:
    """The status of a GET with just these headers."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as line:
        lines = [f"GET {target} HTTP/1.1", "Connection: close", *headers, "", ""]
        line.sendall("\r\n".join(lines).encode())
        return int(line.recv(4096).split(b" ")[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9", "localhost", "LocalHost:80", "[::1]:8080", "127.8.8.8"])
def test_on_loopback_loopbacks_names_are_answered(open_house: Live, host: str) -> None:
    assert raw(open_house.url, f"Host: {host}") == 200


@pytest.mark.parametrize("target", ["/capabilities", "/metrics", "/v2/health/live", "/", "/nowhere"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "0.0.0.0",
        "localhost.",
        "127.0.0.1@evil",
        "",
    ],
)
def test_on_loopback_a_foreign_host_reads_nothing(open_house: Live, host: str, target: str) -> None:
    assert raw(open_house.url, f"Host: {host}", target=target) in (400, 421)


def test_a_host_that_is_missing_or_there_twice_is_refused(open_house: Live) -> None:
    assert raw(open_house.url) == 421
    assert raw(open_house.url, "Host: evil.example", "Host: 127.0.0.1") == 400


def test_pages_of_other_sites_may_not_call_and_our_own_may(open_house: Live) -> None:
    client, ours = open_house.client, open_house.url
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://evil.example:80", "file://", ""):
        for method, path in (("GET", "/capabilities"), ("POST", PREDICT), ("POST", "/feedback"), ("OPTIONS", PREDICT)):
            answer = client.request(method, path, headers={"origin": origin})
            assert answer.status_code == 403, (origin, method, path)
            assert "access-control-allow-origin" not in answer.headers
    body = {"files": {"file": ("a.wav", wav(1))}}
    assert client.post(PREDICT, headers={"origin": ours}, **body).status_code == 200
    named = {"host": "127.0.0.1:1", "x-forwarded-host": ours.removeprefix("http://"), "origin": ours}
    assert client.get("/capabilities", headers=named).status_code == 200


def test_elsewhere_any_name_is_answered_unless_some_are_named() -> None:
    def status(access: Access, host: str, origin: str = "") -> int:
        try:
            access.check_host({b"host": host.encode()} | ({b"origin": origin.encode()} if origin else {}))
        except Exception as error:
            return int(error.status)  # type: ignore[attr-defined]
        return 200

    named = read_access({"SLUICE_ALLOWED_HOSTS": "api.example, notes.example"})
    assert status(Access(), "whatever.svc.cluster.local:80") == 200
    assert status(Access(), "a.example", "https://b.example") == 403
    assert status(Access(), "a.example:443", "https://a.example") == 200
    assert status(named, "api.example:8443", "https://notes.example") == 200
    assert status(named, "localhost") == 421


def test_answers_are_inert_in_a_browser_and_the_page_keeps_its_own_policy(open_house: Live) -> None:
    for path, code in (("/capabilities", 200), ("/metrics", 200), ("/nowhere", 404)):
        answer = open_house.client.get(path)
        assert answer.status_code == code
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    page = open_house.client.get("/", headers={"accept": "text/html"})
    assert page.headers.get_list("content-security-policy") == [page.headers["content-security-policy"]]
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_without_a_key_only_probes_figures_and_the_empty_page_are_to_be_had(guarded: Live) -> None:
    client = guarded.client
    for path in ("/", "/v2/health/live", "/v2/health/ready", "/v2/models/ears/ready", "/v1/models/ears", "/metrics"):
        assert client.get(path).status_code == 200, path
    assert client.get("/", headers={"accept": "text/html"}).status_code == 200
    closed = [("GET", "/capabilities"), ("GET", "/openai/v1/models"), ("GET", "/v2/models/ears"), ("GET", "/v2"),
              ("POST", PREDICT), ("POST", "/v2/models/ears/infer"), ("POST", "/openai/v1/audio/transcriptions"),
              ("POST", "/feedback"), ("POST", "/v2/models/ears/ready"), ("GET", "/peers/x/capabilities"),
              ("GET", "/nowhere"), ("GET", "/v1/models/ears:predict"), ("POST", "/metrics")]  # fmt: skip
    for method, path in closed:
        answer = client.request(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == 'Bearer realm="sluice"'
    page = client.get("/metrics").text
    assert f'sluice_requests_total{{code="401",revision="ears-1",route="client"}} {len(closed)}.0' in page


@pytest.mark.parametrize(
    "given", [f"Bearer {ANNA}x", f"Bearer {ANNA[:-1]}", f"Basic {ANNA}", ANNA, "Bearer", "Bearer é"]
)
def test_a_wrong_key_is_told_so(guarded: Live, given: str) -> None:
    answer = guarded.client.get("/capabilities", headers={"authorization": given.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert ANNA not in answer.text


def test_who_has_a_key_or_a_proxys_word_is_let_in_and_named_in_the_log(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    form = {"files": {"file": ("a.wav", wav(1))}}
    with serving(ToyListener(), "ears", Limits(), access=read_access(RULES)) as guarded:
        for owner, key in (("anna", ANNA), ("bert", BERT)):
            given = bearer({"SLUICE_API_KEY": key}) | {"x-request-id": f"of-{owner}"}
            assert guarded.client.post(PREDICT, headers=given, **form).status_code == 200
        word = ("Host: localhost", "X-Auth-Email: zoe@example.org", "X-Request-Id: of-zoe@example.org")
        assert raw(guarded.url, *word) == 401
        assert raw(guarded.url, *word, source="127.0.0.9") == 200
        assert raw(guarded.url, "Host: localhost", source="127.0.0.9") == 401
    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [row["identity"] for row in rows if row.get("code") == 200] == ["anna", "bert", "zoe@example.org"]
    assert all("identity" not in row for row in rows if row.get("code") == 401)
    assert ANNA not in json.dumps(rows)


def infer(address: str, method: str, message: bytes, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(INFER + method, request_serializer=None, response_deserializer=None)
        try:
            call(message, timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return error.code(), str(error.details())
    return grpc.StatusCode.OK, ""


def test_grpc_wants_the_key_too_and_leaves_probes_open(guarded: Live) -> None:
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

    asked = pb.ModelMetadataRequest(name="ears").SerializeToString()
    assert infer(guarded.grpc, "ServerLive", b"")[0] == grpc.StatusCode.OK
    assert infer(guarded.grpc, "ModelMetadata", asked)[0] == grpc.StatusCode.UNAUTHENTICATED
    wrong, right = ("authorization", "Bearer nobody's-key-of-all"), ("authorization", f"Bearer {BERT}")
    assert infer(guarded.grpc, "ModelMetadata", asked, wrong)[0] == grpc.StatusCode.UNAUTHENTICATED
    assert infer(guarded.grpc, "ModelMetadata", asked, right)[0] == grpc.StatusCode.OK


def test_garbage_over_grpc_is_counted_and_not_written_down_each_time(
    open_house: Live, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for method in ("ModelInfer", "ServerLive"):
            for _ in range(100):
                code, said = infer(open_house.grpc, method, b"\xff" * 50)
                assert (code, method in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert len(caplog.records) <= 3
    assert not any(record.exc_info for record in caplog.records)
    page = open_house.client.get("/metrics").text
    assert 'sluice_requests_total{code="400",revision="ears-1",route="client"} ' in page
    assert 'route="grpc"' not in page


def test_rpcs_that_never_send_their_message_take_no_place() -> None:
    with serving(ToyListener(), "ears", Limits(in_flight=2)) as live, grpc.insecure_channel(live.grpc) as channel:
        silent = channel.stream_unary(INFER + "ServerLive", request_serializer=None, response_deserializer=None)
        go = threading.Event()
        waiting = [silent.future(iter(lambda: go.wait(30) and b"" or b"", None), timeout=30) for _ in range(20)]
        assert [infer(live.grpc, "ServerLive", b"")[0] for _ in range(5)] == [grpc.StatusCode.OK] * 5
        for one in waiting:
            one.cancel()
        go.set()


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"SLUICE_API_KEYS": "anna:short"}, "16 characters"),
        ({"SLUICE_API_KEYS": f"anna:{ANNA},anna:{BERT}"}, "entry 2"),
        ({"SLUICE_API_KEYS_FILE": "/nowhere/keys"}, "cannot be read"),
        ({"SLUICE_ACCESS": "required"}, "there is no key"),
        ({"SLUICE_ACCESS": "yes"}, "open or required"),
        ({"SLUICE_IDENTITY_HEADER": "x-user"}, "SLUICE_TRUSTED_PROXIES"),
        ({"SLUICE_TRUSTED_PROXIES": "gateway"}, "no address"),
    ],
)
def test_a_wrong_setting_is_one_sentence_without_the_key(rules: dict[str, str], sentence: str) -> None:
    with pytest.raises(SluiceError, match=sentence) as refused:
        read_access(rules)
    assert ANNA not in str(refused.value)
    assert BERT not in str(refused.value)


def test_keys_come_from_a_file_and_required_without_any_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may ask\nanna:{ANNA}\n\n{BERT}\n")
    access = read_access({"SLUICE_API_KEYS_FILE": str(file), "SLUICE_ACCESS": "required"})
    assert [name for name, _ in access.keys] == ["anna", "default"]
    command = [sys.executable, "-m", "serving", "--model-name", "m", "--model-dir", str(tmp_path)]
    ended = subprocess.run(command, env=os.environ | {"SLUICE_ACCESS": "required"}, capture_output=True, text=True)
    assert (ended.returncode, "SLUICE_API_KEYS" in ended.stderr) == (2, True)


def test_a_client_is_who_a_trusted_proxy_says_it_is_and_nobody_else() -> None:
    access = read_access({"SLUICE_TRUSTED_PROXIES": "10.0.0.0/8 ::1"})
    assert access.client("10.1.1.1", "6.6.6.6, 7.7.7.7, 10.2.2.2") == "7.7.7.7"
    assert access.client("8.8.8.8", "7.7.7.7") == "8.8.8.8"
    assert access.client("::ffff:10.1.1.1", "::ffff:8.8.4.4") == "8.8.4.4"
    assert access.client("::1", "2001:db8:1:2:3:4:5:6") == access.client("2001:db8:1:2::9", "") == "2001:db8:1:2::/64"
    assert Access().client("127.0.0.1", "7.7.7.7") == "127.0.0.1"
