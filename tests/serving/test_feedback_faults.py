"""Feedback where rows, texts or the database are not as they should be."""

import asyncio
import json
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from answered import cited, heard
from engines import free_port
from sqlalchemy import create_engine, inspect
from threaded import serving
from toy_listener import ToyListener, wav

from serving.contract.access import read_access
from serving.contract.errors import SluiceError
from serving.contract.refusals import Refused
from serving.core.limits import Limits
from serving.feedback import FeedbackStore, corrections, daily_counts, labelled
from serving.feedback.reviews import accepted, all_corrections, decide
from serving.feedback.votes import Vote

SAID = {"segments": [{"start": 0.0, "end": 2.0, "text": "one\0two \ud800"}], "duration": 2.0}


@pytest.fixture
def url(either: str) -> str:
    return either


def test_a_row_that_cannot_be_written_is_set_aside_and_its_neighbours_are_kept(url: str) -> None:
    store = FeedbackStore(url, feature_server="")
    for n in range(40):
        cited(store, f"r{n}", "rev", "why?", ["a"])
        if n in (0, 17, 39):
            cited(store, f"bad{n}", None, "no revision", ["a"])  # type: ignore[arg-type]
            cited(store, f"odd{n}", "rev", "no JSON", [object()])  # type: ignore[list-item]
            cited(store, f"list{n}", "rev", ["no text"], ["a"])  # type: ignore[arg-type]
            cited(store, f"long{n}", "rev", "why?", ["a", 1 << 70])  # type: ignore[list-item]
            heard(store, f"time{n}", "rev", "transcription", "talk", {"duration": object()})
            heard(store, f"list{n}", "rev", "transcription", "talk", {"duration": [1, 2]})
    store.flush()
    assert store.alive and store.failures == {"dropped": 0, "rejected": 18, "unwritten": 0, "unpushed": 0}
    assert store.feedback("r39", "up")["counted"] == "new"
    store.close()
    assert daily_counts("passage_id", url)[["shown", "up"]].to_numpy().tolist() == [[40, 1]]


def test_text_that_no_database_takes_is_cleaned_wherever_it_comes_from(url: str) -> None:
    store = FeedbackStore(url, feature_server="")
    cited(store, "cited", "rev\0", "why\0 \ud800?", ["a\0"])
    heard(store, "heard", "rev", "transcription", "talk\0\udc00", SAID)
    store.feedback("cited", "up", "be\0cause \udfff")
    store.feedback("heard", "down", "one two\0", 0.0, 2.0)
    store.close()
    assert store.failures["rejected"] == 0
    (row,) = labelled("retrieval", url).to_dict("records")
    assert (row["asked"], row["correction"], row["item_ids"]) == (
        "why\ufffd \ufffd?",
        "be\ufffdcause \ufffd",
        ["a\0"],
    )
    (row,) = corrections("transcription", url).to_dict("records")
    assert (row["name"], row["correction"]) == ("talk\ufffd\ufffd", "one two\ufffd")
    (one,) = all_corrections(url)
    decide([one.id], "accepted", "Eve\0", "ab" * 32, url=url)
    ((one,),) = accepted(url).values()
    assert (one.reviewer, one.correction, one.end) == ("Eve\ufffd", "one two\ufffd", 2.0)
    with pytest.raises(SluiceError, match="is unknown"):
        Vote("he\0ard", "up")


def test_a_database_that_comes_back_empty_is_filled_again(url: str) -> None:
    store, engine = FeedbackStore(url, feature_server=""), create_engine(url)
    cited(store, "r1", "rev", "why?", ["a"])
    store.flush()
    with engine.begin() as connection:
        for table in inspect(connection).get_table_names():
            connection.exec_driver_sql(f"DROP TABLE {table}")
    engine.dispose()
    cited(store, "r2", "rev", "why?", ["a"])
    store.flush()
    assert store.feedback("r2", "up")["counted"] == "new" and store.failures["unwritten"] == 1
    store.close()


def test_a_database_of_before_there_were_voters_keeps_its_votes_and_takes_new_ones(url: str) -> None:
    engine = create_engine(url)
    at = "TIMESTAMP" if "postgresql" in url else "DATETIME"
    for statement in (
        f"CREATE TABLE served (request_id VARCHAR(200) PRIMARY KEY, revision VARCHAR(200) NOT NULL,"
        f" question TEXT NOT NULL, passage_ids TEXT NOT NULL, at {at} NOT NULL)",
        f"CREATE TABLE feedback (request_id VARCHAR(200) PRIMARY KEY, vote VARCHAR(4) NOT NULL, correction TEXT,"
        f" at {at} NOT NULL)",
        f"CREATE TABLE answers (request_id VARCHAR(200) PRIMARY KEY, revision VARCHAR(200) NOT NULL,"
        f" task VARCHAR(40) NOT NULL, name VARCHAR(200) NOT NULL, parts TEXT NOT NULL, at {at} NOT NULL)",
        f"CREATE TABLE answer_votes (request_id VARCHAR(200), start_s FLOAT, end_s FLOAT, vote VARCHAR(4) NOT NULL,"
        f" correction TEXT, at {at} NOT NULL, PRIMARY KEY (request_id, start_s))",
        "INSERT INTO served VALUES ('old', 'rev', 'why?', '[\"a\"]', '2026-01-02 03:04:05')",
        "INSERT INTO feedback VALUES ('old', 'up', NULL, '2026-01-02 03:04:05')",
        "INSERT INTO answers VALUES ('heard', 'rev', 'transcription', 'talk', '[[0.5, 2, \"their\"]]',"
        " '2026-01-02 03:04:05')",
        "INSERT INTO answer_votes VALUES ('heard', 0.5, 2, 'down', 'there', '2026-01-02 03:04:05')",
    ):
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    engine.dispose()
    for _ in range(2):  # the second one finds what the first one made
        store = FeedbackStore(url, feature_server="")
        heard(store, "new", "rev", "transcription", "talk", SAID, "ab" * 32)
        assert store.feedback("old", "down", client="somebody")["revision"] == "rev"
        store.close()
    assert labelled("retrieval", url)["vote"].tolist() == ["down"]  # one up, one down: the latest
    (row,) = corrections("transcription", url).to_dict("records")
    assert (row["correction"], row["start"], row["end"], row["recording"], row["voter"]) == ("there", 0.5, 2, "", "")


def refused(store: FeedbackStore, seconds: float = 4.0, correction: str = "") -> Refused:
    with pytest.raises(Refused) as caught:
        asyncio.run(store.cast(Vote("r1", "up", correction), "", "192.0.2.1", seconds))
    return caught.value


@contextmanager
def broken(file: Path, fault: str) -> Iterator[None]:
    """A database that knows the answer r1, and what is wrong with it."""
    if fault == "a folder":
        file.mkdir()
        yield
        return
    first = FeedbackStore(f"sqlite:///{file}", feature_server="")
    cited(first, "r1", "rev", "why? " * 5000, ["a"])
    first.close()
    if fault == "locked":
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
    elif fault == "full":
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    else:
        data = file.read_bytes()
        file.write_bytes(b"no database" * 1000 if fault == "another file" else data[:4096] + os.urandom(len(data)))
        yield


@pytest.mark.parametrize("fault", ["a folder", "another file", "half of one", "full", "locked"])
def test_a_vote_that_cannot_be_noted_is_to_be_sent_again_and_answers_go_on(tmp_path: Path, fault: str) -> None:
    file = tmp_path / "feedback.db"
    with broken(file, fault):
        store = FeedbackStore(f"sqlite:///{file}", feature_server="")
        error = refused(store, 1.0, "x" * 4000)
        assert (error.status, error.headers) == (503, {"retry-after": "5"}) and "send the vote again" in str(error)
        cited(store, "r2", "rev", "why?", ["a"])
        assert store.alive
    store.close()


def test_a_database_server_that_says_nothing_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        store = FeedbackStore(f"postgresql+psycopg://sluice:x@127.0.0.1:{port}/feedback", feature_server="")
        assert refused(store, 0.5).status == 503
        cited(store, "r1", "rev", "why?", ["a"])
        assert store.alive
    store.close()


def test_a_vote_on_an_answer_that_waits_for_the_database_is_to_be_sent_again(tmp_path: Path) -> None:
    (tmp_path / "feedback.db").mkdir()
    store = FeedbackStore(f"sqlite:///{tmp_path / 'feedback.db'}", feature_server="")
    cited(store, "r1", "rev", "why?", ["a"])
    while not store.failures["unwritten"]:
        time.sleep(0.01)
    assert refused(store).status == 503
    (tmp_path / "feedback.db").rmdir()
    store.flush()
    assert asyncio.run(store.cast(Vote("r1", "up"), "", "192.0.2.1"))["counted"] == "new"
    store.close()


def test_a_home_that_cannot_be_written_is_one_sentence_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for url in (f"sqlite:///{tmp_path / 'file' / 'feedback.db'}", "sqlite:////proc/feedback.db"):
        with pytest.raises(SluiceError, match="SLUICE_HOME or SLUICE_FEEDBACK_DB"):
            FeedbackStore(url, feature_server="")
    for command in (["-m", "pipelines.cli", "serve"], ["-m", "pipelines.cli", "run", "codebase"]):
        done = subprocess.run(
            [sys.executable, *command], env=os.environ | {"SLUICE_HOME": "/proc/sluice"}, capture_output=True, text=True
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert "SLUICE_HOME" in done.stderr and len(done.stderr.splitlines()) <= 2


def figure(client: httpx.Client, name: str) -> float:
    line = next(line for line in client.get("/metrics").text.splitlines() if line.startswith(name))
    return float(line.rsplit(" ", 1)[1])


def hear(client: httpx.Client, name: str) -> str:
    form = {"files": {"file": (name, wav(2))}, "data": {"model": "ears"}}
    return str(client.post("/openai/v1/audio/transcriptions", **form).raise_for_status().json()["request_id"])


def test_a_server_whose_feedback_is_away_answers_and_tells_voters_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "feedback.db").mkdir()
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", f"sqlite:///{tmp_path / 'feedback.db'}")
    with serving(ToyListener(), "ears", Limits(deadline=5)) as live:
        about = hear(live.client, "talk.wav")
        vote = {"request_id": about, "vote": "up"}
        told = live.client.post("/feedback", json=vote)
        assert (told.status_code, told.headers["retry-after"]) == (503, "5")
        assert hear(live.client, "talk.wav") != about
        assert live.client.get("/v2/models/ears/ready").status_code == 200
        (tmp_path / "feedback.db").rmdir()
        while live.client.post("/feedback", json=vote).status_code != 200:
            time.sleep(0.1)


def test_thousands_of_votes_on_one_answer_are_one_and_odd_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", f"sqlite:///{tmp_path / 'feedback.db'}")
    with serving(ToyListener(), "ears", Limits(deadline=5), max_votes=50) as live:
        about = hear(live.client, "talk.wav")
        odd = [{"vote": "up"}, {"request_id": f"{about}\0", "vote": "up"}, {"request_id": about, "vote": ["up"]}, [],
               {"request_id": about, "vote": "up", "correction": 5}, {"request_id": about, "vote": "up", "start": True},
               {"request_id": about, "vote": "up", "end": 1}]  # fmt: skip
        assert {live.client.post("/feedback", json=one).status_code for one in odd} == {400}
        codes = []
        for n in range(100):
            vote = {"request_id": about, "vote": "up", "start": float(n % 2), "correction": "\0" * (n % 3)}
            forged = {"x-forwarded-for": f"192.0.2.{n}", "x-request-id": about}
            told = live.client.post("/feedback", json=vote, headers=forged)
            codes.append(told.status_code)
            assert told.status_code == 200 or told.headers["retry-after"] == "10"
        assert codes[:40] == [200] * 40 and 429 in codes
        assert figure(live.client, 'sluice_votes_total{revision="ears-1",vote="up"}') == 1
        assert figure(live.client, 'sluice_vote_changes_total{revision="ears-1",vote="down"}') == 0


def test_who_has_a_key_votes_under_its_name_from_wherever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", f"sqlite:///{tmp_path / 'feedback.db'}")
    keys = {name: f"{name}-0123456789abcdef" for name in ("ada", "bob")}
    access = read_access({"SLUICE_API_KEYS": ",".join(f"{name}:{key}" for name, key in keys.items())})
    with serving(ToyListener(), "ears", Limits(deadline=5), access=access) as live:
        live.client.headers["authorization"] = f"Bearer {keys['ada']}"
        vote = {"request_id": hear(live.client, "talk.wav"), "vote": "down"}
        for name in ("ada", "bob", "ada", "bob"):
            key = {"authorization": f"Bearer {keys[name]}"}
            assert live.client.post("/feedback", json=vote, headers=key).status_code == 200
        assert live.client.post("/feedback", json=vote, headers={"authorization": "Bearer x"}).status_code == 401
        assert figure(live.client, 'sluice_votes_total{revision="ears-1",vote="down"}') == 2


class Picky(BaseHTTPRequestHandler):
    """A feature server that will not have one passage."""

    taken: list[str] = []

    def do_POST(self) -> None:
        ids = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["df"]["passage_id"]
        self.taken += [] if "bad" in ids else ids
        self.send_response(422 if "bad" in ids else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_a_total_that_the_feature_server_refuses_holds_up_no_other(tmp_path: Path) -> None:
    http = ThreadingHTTPServer(("127.0.0.1", free_port()), Picky)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{http.server_port}"
    store = FeedbackStore(f"sqlite:///{tmp_path / 'feedback.db'}", address, push_every_s=60)
    cited(store, "r1", "rev", "why?", ["a", "bad", "c", "d", "e"])
    store.close()
    http.shutdown()
    http.server_close()
    thread.join()
    assert sorted(Picky.taken) == ["a", "c", "d", "e"] and store.failures["rejected"] == 1
