import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pandas as pd
import pytest

from serving.contract.task import EntityFeatures
from serving.core import features
from serving.core.features import OnlineFeatures, from_snapshot, read_online
from serving.retrieval import PASSAGES

SNAPSHOT = pd.DataFrame(
    {"passage_id": ["a", "b"], "kind": ["class", "method"], **dict.fromkeys(PASSAGES.numbers, [3, 4])}
)


class FeatureServer(BaseHTTPRequestHandler):
    """Answers /get-online-features in Feast's shape; it has never heard of passage "b"."""

    broken = False
    asked: list[list[str]] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert body["feature_service"] == "retrieval_v1"
        ids = body["entities"]["passage_id"]
        self.asked.append(ids)
        columns = {"passage_id": ids, "kind": ["issue" if i != "b" else None for i in ids]}
        columns |= {name: [9 if i != "b" else None for i in ids] for name in PASSAGES.numbers}
        results = [{"values": values[:1] if self.broken else values} for values in columns.values()]
        answer = json.dumps({"metadata": {"feature_names": list(columns)}, "results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@pytest.fixture
def server() -> Iterator[str]:
    FeatureServer.broken, FeatureServer.asked = False, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), FeatureServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def settle(online: OnlineFeatures) -> None:
    while not (online.refreshed_at or online.failures):
        time.sleep(0.01)
    online.close()


def test_the_snapshot_is_aligned_with_the_index_and_gaps_are_zero():
    columns = from_snapshot(PASSAGES, ["b", "new", "a"], SNAPSHOT)
    assert columns["kind"].tolist() == ["method", "", "class"]
    assert columns["up"].tolist() == [4, 0, 3] and columns["up"].dtype == np.int64
    assert from_snapshot(PASSAGES, ["a"], SNAPSHOT[["passage_id"]])["n_tokens"].tolist() == [0]


def test_without_a_feature_server_the_snapshot_serves():
    online = OnlineFeatures(PASSAGES, ["a", "b"], SNAPSHOT, "")
    assert online.columns()["shown"].tolist() == [3, 4]
    assert (online.refreshed_at, online.failures) == (None, 0)
    online.close()


def test_the_online_store_replaces_what_it_knows_and_leaves_the_rest(server, monkeypatch):
    monkeypatch.setattr(features, "_CHUNK", 2)
    online = OnlineFeatures(PASSAGES, ["a", "b", "c"], SNAPSHOT, server)
    settle(online)
    assert FeatureServer.asked[:2] == [["a", "b"], ["c"]]
    assert online.columns()["kind"].tolist() == ["issue", "method", "issue"]
    assert online.columns()["shown"].tolist() == [9, 4, 9]
    assert online.failures == 0


def test_half_an_answer_changes_nothing(server):
    FeatureServer.broken = True
    online = OnlineFeatures(PASSAGES, ["a", "b"], SNAPSHOT, server)
    settle(online)
    assert online.columns()["shown"].tolist() == [3, 4]
    assert (online.refreshed_at, online.failures) == (None, 1)


def test_a_server_that_is_away_leaves_the_snapshot_and_is_counted():
    online = OnlineFeatures(PASSAGES, ["a", "b"], SNAPSHOT, "http://127.0.0.1:9")
    settle(online)
    assert online.columns()["kind"].tolist() == ["class", "method"]
    assert online.failures == 1


class Rows(BaseHTTPRequestHandler):
    """A feature server with users and films, each under its own key."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ((key, ids),) = body["entities"].items()
        columns = {
            key: ids,
            "seen": [len(one) for one in ids],
            "taste": [f"{body['feature_service']} {one}" for one in ids],
        }
        answer = {"metadata": {"feature_names": list(columns)}, "results": [{"values": v} for v in columns.values()]}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def test_a_task_has_features_of_its_own_entities():
    films = EntityFeatures("films_v1", "film_id", numbers=("seen",), texts=("taste",))
    users = EntityFeatures("users_v1", "user_id", numbers=("seen",))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rows)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    online = OnlineFeatures(films, ["f1", "film2"], pd.DataFrame({"film_id": ["f1"], "seen": [7]}), url)
    assert online.columns()["seen"].tolist() == [7, 0] or online.refreshed_at
    settle(online)
    assert online.columns()["seen"].tolist() == [2, 5] and online.columns()["taste"][1] == "films_v1 film2"
    with httpx.Client(trust_env=False) as client:
        assert read_online(client, url, users, ["ada"]) == {"seen": [3]}
    server.shutdown()
    server.server_close()
    thread.join()
