"""The page for people: what it is served as, what it may reach, and, in a real browser, what people do on it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import Browser, needs_chromium
from threaded import Live, serving
from toy_listener import ToyListener, wav

from serving.contract.access import read_access
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.load import load
from serving.core.limits import Limits
from serving.core.peers import addresses
from serving.feedback import corrections, labelled

SAMPLES = Path(__file__).parents[2] / "components/recordings/samples"
LIMITS, OWN = Limits(), {"max_upload": 10_000_000}


class FirstAndLast:
    """A summary in a few lines: the first and the last segment."""

    bundle = Bundle.model_construct(
        task="highlights",
        inputs={"properties": {"segments": {"type": "array"}, "text": {"type": "string"}}},
        outputs={},
    )

    def parse(self, payload: dict[str, Any]) -> dict[str, Any]:
        if not payload.get("segments"):
            raise SluiceError("field 'segments' is missing")
        return payload

    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"bullets": [i["segments"][0], i["segments"][-1]], "length_ratio": 0.5} for i in instances]

    def close(self) -> None:
        pass


class House(NamedTuple):
    ears: Live
    short: Live
    asks: Live
    toy: ToyListener


@pytest.fixture(scope="module")
def house(tiny_bundle: Path) -> Iterator[House]:
    """A transcriber whose peers are a summary and a retriever."""
    toy = ToyListener()
    retriever = load(tiny_bundle)
    patch = pytest.MonkeyPatch()
    with serving(FirstAndLast(), "short", LIMITS) as short, serving(retriever, "asks", LIMITS) as asks:
        patch.setenv("SLUICE_PEERS", f"short={short.url},asks={asks.url},gone=http://127.0.0.1:9")
        with serving(toy, "ears", LIMITS, own=OWN) as ears:
            patch.undo()
            yield House(ears, short, asks, toy)


def test_browsers_get_the_page_and_probes_get_liveness(house: House) -> None:
    client = house.ears.client
    page = client.get("/", headers={"accept": "text/html,*/*"})
    assert "<!doctype html>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/", headers={"accept": "*/*"}).json() == {"status": "alive"}
    script = client.get("/page/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert client.get("/page/app.js", headers={"if-none-match": script.headers["etag"]}).status_code == 304
    for path in ("/page/__init__.py", "/page/../app.py", "/page/%2e%2e/app.py", "/page/"):
        assert client.get(path).status_code == 404
    for name in ("api", "ask", "dom", "lecture"):
        assert client.get(f"/page/{name}.js").status_code == 200
    assert not any(f'{word}="http' in page.text for word in ("src", "href"))


def test_peers_are_reached_by_name_and_nothing_else_is(house: House) -> None:
    client = house.ears.client
    about = client.get("/capabilities").json()
    assert (about["recordings"], about["peers"]) == (True, ["short", "asks", "gone"])
    assert client.get("/peers/asks/capabilities").json()["task"] == "retrieval"
    answer = client.post("/peers/asks/predict", json={"instances": [{"question": "Who writes a verdict?"}]})
    assert answer.json()["predictions"][0]["sources"]
    assert answer.json()["revision"] == "asks-1"
    vote = {"request_id": answer.json()["request_id"], "vote": "up"}
    assert client.post("/peers/asks/feedback", json=vote).status_code == 200
    refused = client.post("/peers/asks/predict", json={"instances": [{}]})
    assert (refused.status_code, "question" in refused.json()["error"]) == (400, True)
    for method, path in (("GET", "asks/metrics"), ("POST", "asks/capabilities"), ("POST", "asks/../ears/predict"),
                         ("POST", "other/predict"), ("GET", "asks/v2/health/ready")):  # fmt: skip
        assert client.request(method, f"/peers/{path}").status_code == 404
    assert client.get("/peers/gone/capabilities").status_code == 503


def test_who_votes_through_a_peer_counts_for_themselves_where_the_peer_trusts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    proxies = read_access({"SLUICE_TRUSTED_PROXIES": "127.0.0.0/8"})
    with serving(ToyListener(), "asks", LIMITS, access=proxies) as asks:
        monkeypatch.setenv("SLUICE_PEERS", f"asks={asks.url}")
        form = {"file": ("hum.wav", wav(1))}
        about = asks.client.post("/v1/models/asks:predict", files=form).json()["request_id"]
        with serving(ToyListener(), "ears", LIMITS, own=OWN, access=proxies) as ears:
            for who in (b"192.0.2.1", b"192.0.2.2", b"\xff odd", b"192.0.2.1"):
                vote = {"request_id": about, "vote": "up"}
                told = ears.client.post("/peers/asks/feedback", json=vote, headers=[(b"x-forwarded-for", who)])
                assert told.status_code == 200
        assert 'sluice_votes_total{revision="asks-1",vote="up"} 3.0' in asks.client.get("/metrics").text


def test_a_peer_is_asked_with_the_askers_own_key_or_else_with_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = read_access({"SLUICE_API_KEYS": "anna:anna-0123456789abcdef,ears:ears-0123456789abcdef"})
    with serving(ToyListener(), "asks", LIMITS, access=keys) as asks:
        monkeypatch.setenv("SLUICE_PEERS", f"asks={asks.url}")
        with serving(ToyListener(), "ears", LIMITS, own=OWN) as ears:
            refused = ears.client.get("/peers/asks/capabilities")
            assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")
            anna = {"authorization": "Bearer anna-0123456789abcdef"}
            assert ears.client.get("/peers/asks/capabilities", headers=anna).status_code == 200
            monkeypatch.setenv("SLUICE_API_KEY", "ears-0123456789abcdef")
            assert ears.client.get("/peers/asks/capabilities").status_code == 200


def test_a_graph_may_hand_on_the_transcribers_answer(house: House) -> None:
    heard = house.ears.client.post("/v1/models/ears:predict", files={"file": ("hum.wav", wav(3))}).json()
    answer = house.short.client.post("/v1/models/short:predict", json=heard).json()["predictions"][0]
    assert answer["transcript"] == "level 5 level 5 level 5"
    assert [bullet["start"] for bullet in answer["bullets"]] == [0, 2]
    assert (answer["revision"], answer["name"], len(answer["segments"])) == ("short-1", "hum", 3)
    assert house.short.client.post("/v1/models/short:predict", json={"predictions": [5]}).status_code == 400


def test_peers_addresses_are_a_template_or_a_list() -> None:
    assert addresses(("a", "b"), "http://{name}.svc/") == {"a": "http://a.svc", "b": "http://b.svc"}
    assert addresses((), "a=http://x/,b=http://y") == {"a": "http://x", "b": "http://y"}
    assert addresses(("a",), "") == {}
    with pytest.raises(SluiceError, match="SLUICE_PEERS"):
        addresses(("a",), "localhost:8080")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


def own(errors: list[str]) -> list[str]:
    """Errors of the page itself: a peer that is away or a lecture that is not in the index is none."""
    return [error for error in errors if not error.startswith("Failed to load resource")]


@pytest.mark.e2e
@needs_chromium
def test_a_lecture_is_heard_corrected_put_in_short_and_asked_about(
    house: House, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "hum.wav").write_bytes(wav(8))
    house.toy.seconds = 0.05
    browser.open(house.ears.url)
    browser.wait("document.querySelector('#take:not([hidden])')")
    browser.choose("#file", tmp_path / "hum.wav")
    browser.wait("document.querySelectorAll('#segments li').length > 0")
    assert browser.run("document.querySelector('#stage').textContent").startswith("Listening, 0:0")
    browser.wait("document.querySelector('#script-vote .vote') && document.querySelector('#bullets li')")
    assert browser.run("document.querySelectorAll('#segments li').length") == 8
    assert browser.run("document.querySelectorAll('#bullets li').length") == 2
    browser.press("#segments li:nth-child(4) .time")
    browser.wait("document.querySelector('audio').currentTime >= 3 && document.querySelector('audio').currentTime < 8")
    browser.wait("document.querySelector('#segments li[aria-current]')")
    assert browser.run("document.querySelector('#segments li[aria-current] .time').textContent") in ("0:03", "0:04")

    browser.press("#segments li:nth-child(2) .mend")
    browser.run("document.querySelector('#segments textarea').select()")
    browser.type("a hum")
    browser.press("#segments li:nth-child(2) form button")
    browser.wait("document.querySelector('#segments li:nth-child(2) .said').textContent === 'a hum'")
    row = corrections("transcription").iloc[-1]
    assert (row["name"], row["start"], row["end"], row["correction"]) == ("hum", 1, 2, "a hum")
    browser.press("#short-vote [data-vote=down]")
    browser.wait("document.activeElement.matches('#short-vote textarea')")
    browser.type("It hums.")
    browser.press("#short-vote form button")
    browser.wait("document.querySelector('#short-vote').textContent.includes('noted')")
    assert corrections("highlights").iloc[-1]["correction"] == "It hums."

    browser.press("#question")
    browser.type("a hum?")
    browser.key("Enter")
    browser.wait("document.querySelector('.answer .time')")
    assert browser.run("document.querySelector('.answer li').textContent").startswith("0:01")
    assert own(browser.errors) == []


@pytest.mark.e2e
@needs_chromium
@pytest.mark.parametrize("name", ["rivers-1.ogg", "trees-1.mp4"])
def test_a_sample_lecture_plays_beside_what_a_whisper_makes_of_it(
    tiny_speech: Path, browser: Browser, name: str
) -> None:
    browser.errors.clear()
    sample = SAMPLES / name
    with serving(load(tiny_speech / "bundle"), "ears", LIMITS, own=OWN) as ears:
        browser.open(ears.url)
        browser.wait("document.querySelector('#take:not([hidden])')")
        browser.choose("#file", sample)
        browser.wait("document.querySelector('#script-vote .vote')", 60)
        # Before its metadata is there a player already tells the time it was sent to, but no duration.
        browser.wait("document.querySelector('audio, video').readyState >= 1")
        browser.press("#segments li:last-child .time")
        browser.wait("document.querySelector('audio, video').currentTime > 20")
        assert browser.run("document.querySelector('audio, video').duration") == pytest.approx(51, abs=5)
        assert browser.run("document.querySelector('audio, video').tagName") == ("VIDEO" if "mp4" in name else "AUDIO")
    assert own(browser.errors) == []


@pytest.mark.e2e
@needs_chromium
def test_code_is_asked_about_and_an_answer_is_voted_on_on_a_phone(house: House, browser: Browser) -> None:
    browser.errors.clear()
    browser.open(house.asks.url, 390, 844)
    browser.wait("document.querySelector('#ask:not([hidden])')")
    browser.press("#question")
    browser.type("Where is it that a verdict is written?")
    browser.key("Enter")
    browser.wait("document.querySelector('.answer code')")
    assert ".py:" in browser.run("document.querySelector('.answer code').textContent")
    assert browser.run("document.documentElement.scrollWidth") <= 390
    before = len(labelled("retrieval"))
    browser.press(".answer [data-vote=up]")
    browser.wait("document.querySelector('.answer [data-vote=up]').ariaPressed === 'true'")
    assert len(labelled("retrieval")) == before + 1
    assert own(browser.errors) == []


@pytest.mark.e2e
@needs_chromium
def test_what_goes_wrong_is_said_on_the_page(house: House, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "notes.mp3").write_bytes(b"these are only words " * 1000)
    browser.open(house.ears.url)
    browser.wait("document.querySelector('#take:not([hidden])')")
    browser.choose("#file", tmp_path / "notes.mp3")
    browser.wait("!document.querySelector('#problem').hidden")
    assert "notes.mp3" in browser.run("document.querySelector('#problem').textContent")
    assert browser.run("document.querySelector('#lecture').hidden")
    (tmp_path / "big.wav").write_bytes(bytes(10_000_001))
    browser.choose("#file", tmp_path / "big.wav")
    browser.wait("document.querySelector('#problem').textContent.includes('larger than')")
    house.toy.seconds = 0.3
    (tmp_path / "hum.wav").write_bytes(wav(60))
    browser.choose("#file", tmp_path / "hum.wav")
    browser.wait("document.querySelector('#segments li')")
    browser.press("#cancel")
    browser.wait("document.querySelector('#problem').textContent === 'Stopped.'")
    until = time.monotonic() + 10
    while house.toy.held and time.monotonic() < until:
        time.sleep(0.02)
    assert not house.toy.held


@pytest.mark.e2e
@needs_chromium
def test_the_page_asks_for_a_key_once_and_sends_it_with_everything(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "hum.wav").write_bytes(wav(2))
    keys = read_access({"SLUICE_API_KEYS": "anna:anna-0123456789abcdef"})
    typed = "sessionStorage.asked = 1 + Number(sessionStorage.asked ?? 0)"
    prompt = f"window.prompt = () => ({typed}) > 1 ? 'anna-0123456789abcdef' : 'mistyped-0123456789'"
    script = browser.call("Page.addScriptToEvaluateOnNewDocument", source=prompt)["identifier"]
    with serving(ToyListener(), "ears", LIMITS, own=OWN, access=keys) as ears:
        browser.open(ears.url)
        browser.wait("document.querySelector('#take:not([hidden])')")
        browser.choose("#file", tmp_path / "hum.wav")
        browser.wait("document.querySelector('#segments li')")
        assert browser.run("sessionStorage.asked") == "2"
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
