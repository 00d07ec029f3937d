import asyncio
from pathlib import Path

import pytest

from load_tests.bench.client import Job, Times, offer
from load_tests.bench.inputs import find_bundle, find_model, make_questions
from load_tests.bench.judge import judge, kept_quality
from load_tests.bench.measure import CLIENTS, OURS, PEER, ROUTED, ROUTES, UNBATCHED, BenchMeasured, BenchRow
from load_tests.bench.page import word, write_page
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError


def figures(peer: float = 100, ours: float = 700) -> BenchMeasured:
    """A run in which the peer and ours answer so many a second."""
    rates = {PEER: peer, OURS: ours, UNBATCHED: ours / 2, ROUTED: ours}
    rows = [
        BenchRow(name, work, clients, rate, 1000 / rate, 1500 / rate, 2000 / rate, 99)
        for name, rate in rates.items()
        for work in ROUTES
        for clients in CLIENTS
    ]
    return BenchMeasured(tuple(rows), {OURS: 2.0, PEER: 9.0}, {OURS: 400.0, PEER: 900.0}, True)


def talk(*jobs_bodies: str, status: str = "200 OK", pieces: int = 1, clients: int = 2) -> tuple[Times, list[bytes]]:
    """Offer a short job to a server that answers with ``status``, its answer cut into pieces."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                seen.append(await reader.readexactly(length))
                whole = f"HTTP/1.1 {status}\r\nContent-Length: 6\r\n\r\nanswer".encode()
                for at in range(pieces):
                    writer.write(whole[at * len(whole) // pieces : (at + 1) * len(whole) // pieces])
                    await writer.drain()
                    await asyncio.sleep(0.001)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def play() -> Times:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        times = await offer(Job(f"http://127.0.0.1:{port}", "/x", list(jobs_bodies), clients, 0.2))
        server.close()
        await asyncio.sleep(0.05)
        return times

    return asyncio.run(play()), seen


def test_the_client_counts_every_whole_answer_once() -> None:
    times, seen = talk("one", "two", pieces=3)
    assert len(times.ms) == len(seen) > 4
    assert times.errors == 0
    assert set(seen) == {b"one", b"two"}
    assert min(times.ms) >= 2


def test_the_client_counts_refusals_as_errors() -> None:
    times, _ = talk("one", status="429 Too Many Requests")
    assert times.errors == len(times.ms) > 0


def test_the_client_calls_no_other_machine() -> None:
    with pytest.raises(ValueError, match="this machine only"):
        asyncio.run(offer(Job("http://example.com", "/", ["x"], 1, 1)))


def test_promises_are_judged_by_the_measured_ratios() -> None:
    variants = {"fp32": {"bytes": 100, "recall@10_val": 0.8}, "int8": {"bytes": 25, "recall@10_val": 0.796}}
    good = {target.name: target for target in judge(figures(), variants, 0.1)}
    assert all(target.met is not False for target in good.values())
    assert good["batching gain, embeddings"].value == 2
    assert good["recall@10 kept by INT8"].value == pytest.approx(99.5)
    bad = [target for target in judge(figures(ours=300), variants, 0) if target.met is False]
    assert [word(target) for target in bad] == ["missed by 3 x", "missed by 1 x"]


def test_quality_that_the_bundle_does_not_tell_is_not_invented() -> None:
    assert kept_quality({"bytes": 1}, {"bytes": 1}) is None
    assert not [t for t in judge(figures(), {"fp32": {"bytes": 1}}, 0) if "INT8" in t.name]


def test_the_page_carries_promises_pictures_and_figures_and_loads_nothing(tmp_path: Path) -> None:
    measured = figures()
    write_page(measured, judge(measured, {}, 0.1), tmp_path / "bench.html")
    page = (tmp_path / "bench.html").read_text()
    assert page.count("<svg") == 1
    assert '<td class="met">met</td>' in page
    assert not {part for part in page.split('"') if part.startswith("http") and "w3.org" not in part}


def test_inputs_are_found_in_this_home_or_missed_with_a_mend(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    with pytest.raises(SluiceError, match="make demo"):
        find_bundle(None)
    with pytest.raises(SluiceError, match="--model-dir"):
        find_model(None, Bundle.read(tiny_bundle))
    kept = tmp_path / "bundles" / "codebase" / "abc"
    kept.parent.mkdir(parents=True)
    kept.symlink_to(tiny_bundle)
    model = tmp_path / "runs" / "codebase" / "merged"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "sluice.json").write_text('{"base_model": "bag of words"}')
    assert find_bundle(None) == kept
    assert find_model(None, Bundle.read(tiny_bundle)) == model
    assert len(set(make_questions(kept, None))) > 50
