import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from answered import cited, heard
from sqlalchemy import select

from serving.contract.errors import SluiceError
from serving.feedback import FeedbackStore, corrections, daily_counts, labelled, votes_by_revision
from serving.feedback.tables import answers, connect, utc_now


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'feedback.db'}"


@pytest.fixture
def store(url) -> Iterator[FeedbackStore]:
    store = FeedbackStore(url, feature_server="")
    yield store
    store.close()


def totals(url: str) -> dict[str, tuple[int, int, int]]:
    sums = daily_counts("passage_id", url).groupby("passage_id")[["shown", "up", "down"]].sum()
    return {str(name): tuple(row) for name, row in zip(sums.index, sums.to_numpy().tolist(), strict=True)}


def test_a_vote_counts_for_every_passage_of_its_answer_and_becomes_a_labelled_row(store, url):
    cited(store, "r1", "codebase-00001", "How is padding chosen?", ["a", "b"])
    cited(store, "r2", "codebase-00002", "What is a head mask?", ["b"])
    row = store.feedback("r1", "up", "  See pad().  ")
    store.flush()
    assert (row["revision"], row["item_ids"], row["correction"]) == ("codebase-00001", ["a", "b"], "See pad().")
    assert totals(url) == {"a": (1, 1, 0), "b": (2, 1, 0)}
    (label,) = labelled("retrieval", url).to_dict("records")
    assert (label["asked"], label["item_ids"], label["vote"]) == ("How is padding chosen?", ["a", "b"], "up")
    assert str(label["at"].tz) == "UTC"


def test_a_second_vote_on_the_same_answer_replaces_the_first(store, url):
    cited(store, "r1", "rev", "why?", ["a"])
    for vote in ("up", "up", "down"):
        store.feedback("r1", vote)
    assert totals(url) == {"a": (1, 0, 1)}
    assert labelled("retrieval", url)["vote"].tolist() == ["down"]


@pytest.mark.parametrize(
    ("request_id", "vote", "correction", "complaint"),
    [("nobody", "up", None, "unknown"), ("r1", "meh", None, "'up' or 'down'"), ("r1", "up", "x" * 5000, "4000")],
)
def test_bad_feedback_is_refused_with_a_sentence(store, request_id, vote, correction, complaint):
    cited(store, "r1", "rev", "why?", ["a"])
    with pytest.raises(SluiceError, match=complaint):
        store.feedback(request_id, vote, correction)


def test_a_correction_of_a_transcripts_part_becomes_a_row_with_the_lecture_and_its_times(store, url):
    segments = [{"start": 0.0, "end": 2.5, "text": "Hello their."}, {"start": 2.5, "end": 4.0, "text": "Bye."}]
    heard(store, "t1", "lectures-00001", "transcription", "rivers", {"text": "Hello their. Bye.", "segments": segments})
    heard(store, "t2", "lectures-00001", "highlights", "rivers", {"bullets": segments[:1], "segments": segments})
    store.feedback("t1", "down", "Hello.", 0.0, 2.5)
    store.feedback("t1", "down", "Hello there.", 0.0, 2.5)
    store.feedback("t1", "up")
    store.feedback("t2", "up")
    first, whole = corrections("transcription", url).to_dict("records")
    assert (first["name"], first["start"], first["end"]) == ("rivers", 0.0, 2.5)
    assert (first["answer"], first["correction"]) == ("Hello their.", "Hello there.")
    assert (whole["answer"], whole["vote"]) == ("Hello their.\nBye.", "up")
    assert whole["start"] != whole["start"]
    assert corrections("highlights", url)["answer"].tolist() == ["Hello their."]
    assert labelled("retrieval", url).empty
    assert corrections("other", url).empty


def test_votes_are_counted_by_the_revision_that_answered_and_from_a_time_on(store, url):
    assert votes_by_revision(0, url).empty
    for n in range(3):
        cited(store, f"p{n}", f"rev-{n % 2}", "why?", ["a"])
        store.feedback(f"p{n}", "down")
    heard(store, "t", "rev-1", "highlights", "rivers", {"bullets": [{"start": 0.0, "end": 1.0, "text": "A."}]})
    store.feedback("p0", "up")
    store.feedback("t", "down", None, 0.0, 1.0)
    counted = votes_by_revision(time.time() - 60, url)
    assert {(r.revision, r.vote): r.votes for r in counted.itertuples()} == {
        ("rev-0", "up"): 1, ("rev-0", "down"): 1, ("rev-1", "down"): 2,
    }  # fmt: skip
    assert votes_by_revision(time.time() + 60, url).empty


def test_an_address_that_cannot_be_meant_is_refused_at_once():
    with pytest.raises(SluiceError, match="sqlite and postgresql"):
        FeedbackStore("mysql://host/db")
    with pytest.raises(SluiceError, match="no SQLAlchemy URL"):
        FeedbackStore("feedback.db")


def test_two_revisions_that_share_the_database_lose_no_count(url):
    stores = [FeedbackStore(url, feature_server="") for _ in range(2)]

    def answer(which: int) -> None:
        for n in range(200):
            cited(stores[which], f"{which}-{n}", f"rev-{which}", "why?", ["a", "b"])

    threads = [threading.Thread(target=answer, args=(which,)) for which in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    stores[0].feedback("1-199", "down")  # answered by one revision, voted at the other
    [store.close() for store in stores]
    assert totals(url) == {"a": (400, 0, 1), "b": (400, 0, 1)}


def test_answers_wait_for_a_database_that_cannot_be_opened_and_never_hold_up_a_request(tmp_path, url):
    (tmp_path / "feedback.db").mkdir()
    store = FeedbackStore(url, feature_server="", queue_size=10)
    for n in range(50):
        cited(store, f"r{n}", "rev", "why?", ["a"])
        if n == 0:
            while not store.failures["unwritten"]:
                time.sleep(0.01)
    assert store.failures["dropped"] == 50 - 1 - 10
    (tmp_path / "feedback.db").rmdir()
    store.close()
    assert totals(url) == {"a": (11, 0, 0)}


class PushServer(BaseHTTPRequestHandler):
    """The /push of a feature server, as far as a client sees it."""

    bodies: list[dict] = []

    def do_POST(self):
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def test_answers_without_a_vote_are_forgotten_after_the_days_that_were_said(url):
    first = FeedbackStore(url, feature_server="")
    for request in ("new", "old", "voted"):
        cited(first, request, "r1", "why?", ["p1"])
    first.flush()
    first.feedback("voted", "up")
    first.close()
    engine = connect(url)
    with engine.begin() as connection:
        aged = answers.update().where(answers.c.request_id != "new").values(at=utc_now() - timedelta(days=8))
        connection.execute(aged)
    later = FeedbackStore(url, feature_server="", keep_days=7)
    cited(later, "newest", "r1", "why?", ["p1"])
    for _ in range(100):  # it looks once an hour, and at its start
        with engine.begin() as connection:
            left = set(connection.execute(select(answers.c.request_id)).scalars())
        if "old" not in left and "newest" in left:
            break
        time.sleep(0.1)
    later.close()
    engine.dispose()
    assert left == {"new", "voted", "newest"}


def test_totals_that_could_not_be_pushed_are_pushed_later(url):
    server = ThreadingHTTPServer(("127.0.0.1", 0), PushServer, bind_and_activate=False)
    server.server_bind()
    store = FeedbackStore(url, f"http://127.0.0.1:{server.server_port}/", push_every_s=60)
    cited(store, "r1", "rev", "why?", ["b", "a"])
    store.feedback("r1", "up")
    while not store.failures["unpushed"]:
        time.sleep(0.01)
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    store.close()
    server.shutdown()
    server.server_close()
    thread.join()
    body = PushServer.bodies[-1]
    assert (body["push_source_name"], body["to"]) == ("feedback_push", "online")
    assert {k: v for k, v in body["df"].items() if k != "event_timestamp"} == {
        "passage_id": ["a", "b"],
        "shown": [1, 1],
        "up": [1, 1],
        "down": [0, 0],
    }
