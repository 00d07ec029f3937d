"""A feedback database that the version before one table of answers has written, on SQLite and PostgreSQL."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from serving.feedback import (
    FeedbackStore,
    corrections,
    daily_counts,
    feedback_count,
    labelled,
    tables,
    votes_by_revision,
)
from serving.feedback.reviews import accepted
from serving.feedback.tables import answers, connect, create_tables

OLD = """
CREATE TABLE answers (request_id VARCHAR(200) NOT NULL, revision VARCHAR(200) NOT NULL, task VARCHAR(40) NOT NULL,
 name VARCHAR(200) NOT NULL, recording VARCHAR(64), duration_s FLOAT, parts VARCHAR NOT NULL, at TIMESTAMP NOT NULL,
 PRIMARY KEY (request_id));
INSERT INTO answers VALUES('heard','rev-2','transcription','talk','{sha}',4.0,
 '[[0.0, 2.0, "their"], [2.0, 4.0, "x"]]','2026-11-28 17:04:54.763379');
CREATE TABLE passage_days (day DATE NOT NULL, passage_id VARCHAR(64) NOT NULL, shown INTEGER NOT NULL,
 up INTEGER NOT NULL, down INTEGER NOT NULL, PRIMARY KEY (day, passage_id));
INSERT INTO passage_days VALUES('2026-11-27','a',1,2,1);
INSERT INTO passage_days VALUES('2026-11-28','b',2,2,1);
CREATE TABLE reviews (number INTEGER NOT NULL, id VARCHAR(16) NOT NULL, decision VARCHAR(8) NOT NULL,
 reviewer VARCHAR(100) NOT NULL, recording VARCHAR(64) NOT NULL, name VARCHAR(200) NOT NULL, start_s FLOAT NOT NULL,
 end_s FLOAT NOT NULL, correction VARCHAR NOT NULL, over_reference BOOLEAN NOT NULL, at TIMESTAMP NOT NULL,
 PRIMARY KEY (number));
INSERT INTO reviews VALUES(1,'6a51a0ff9ef4','accepted','Eve','{sha}','talk',0.0,2.0,'there',FALSE,
 '2026-11-28 17:04:55.201657');
CREATE TABLE secrets (name VARCHAR(40) NOT NULL, value VARCHAR(64) NOT NULL, PRIMARY KEY (name));
INSERT INTO secrets VALUES('salt','3e47ea08e294195414cde1bd5564a61f');
CREATE TABLE served (request_id VARCHAR(200) NOT NULL, revision VARCHAR(200) NOT NULL, question VARCHAR NOT NULL,
 passage_ids VARCHAR NOT NULL, at TIMESTAMP NOT NULL, PRIMARY KEY (request_id));
INSERT INTO served VALUES('cited','rev-1','why?','["a", "b"]','2026-11-28 17:04:54.763296');
INSERT INTO served VALUES('unvoted','rev-1','how?','["b"]','2026-11-28 17:04:54.763319');
CREATE TABLE votes (request_id VARCHAR(200) NOT NULL, start_s FLOAT NOT NULL, voter VARCHAR(32) NOT NULL, end_s FLOAT,
 vote VARCHAR(4) NOT NULL, correction VARCHAR, at TIMESTAMP NOT NULL, PRIMARY KEY (request_id, start_s, voter));
INSERT INTO votes VALUES('cited',-1.0,'4036f803965982b9d0b8c345',NULL,'up',NULL,'2026-11-28 17:04:54.956914');
INSERT INTO votes VALUES('cited',-1.0,'9d65609b9ecb97c6b2c1686d',NULL,'down','see pad()','2026-11-28 17:04:54.963644');
INSERT INTO votes VALUES('cited',-1.0,'09bc2b88b3ab18802c3025ff',NULL,'up',NULL,'2026-11-28 17:04:54.967520');
INSERT INTO votes VALUES('heard',0.0,'4036f803965982b9d0b8c345',2.0,'down','there','2026-11-28 17:04:54.980069');
CREATE INDEX ix_served_at ON served (at);
CREATE INDEX ix_answers_at ON answers (at);
CREATE INDEX ix_answers_task ON answers (task);
CREATE INDEX passage_days_by_passage ON passage_days (passage_id);
"""
"""What that version's own code wrote: two cited answers, three votes on one; a transcript, a reviewed correction."""
SHA = "ab" * 32


@pytest.fixture
def old(either: str) -> str:
    run(either, OLD.replace("{sha}", SHA))
    return either


def run(url: str, statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements.split(";\n"):
            connection.exec_driver_sql(statement) if statement.strip() else None
    engine.dispose()


def counts(url: str) -> list[list[object]]:
    return daily_counts("passage_id", url)[["passage_id", "shown", "up", "down"]].to_numpy().tolist()


def test_every_answer_vote_count_and_review_is_there_however_often_the_database_is_opened(old: str) -> None:
    for _ in range(2):
        (row,) = labelled("retrieval", old).to_dict("records")
        assert (row["asked"], row["item_ids"], row["vote"], row["correction"]) == (
            "why?",
            ["a", "b"],
            "up",
            "see pad()",
        )
        assert counts(old) == [["a", 1, 2, 1], ["b", 2, 2, 1]]
        assert corrections("transcription", old)[["answer", "correction"]].to_numpy().tolist() == [["their", "there"]]
        assert accepted(old)[SHA][0].reviewer == "Eve" and feedback_count(old) == 2
        assert votes_by_revision(0, old).to_numpy().tolist() == [
            ["rev-1", "down", 1], ["rev-1", "up", 2], ["rev-2", "down", 1],
        ]  # fmt: skip
    store = FeedbackStore(old, feature_server="")
    assert store.feedback("unvoted", "up", client="ada")["item_ids"] == ["b"]
    assert store.feedback("heard", "down", "x!", 2.0, 4.0, "ada")["counted"] == "part"  # the same ada
    store.close()
    assert daily_counts("passage_id", old).groupby("passage_id")["up"].sum().to_dict() == {"a": 2, "b": 3}


def test_a_revision_of_before_that_still_answers_beside_this_one_loses_nothing(old: str) -> None:
    store = FeedbackStore(old, feature_server="")
    store.feedback("unvoted", "down")
    late = "INSERT INTO served VALUES('late','rev-1','when?','[\"a\"]','2026-11-28 18:00:00');\n"
    run(old, late + "INSERT INTO passage_days VALUES('2026-11-27','a',1,0,0);\n")
    row = store.feedback("late", "up")
    store.close()
    assert (row["revision"], row["item_ids"], row["counted"]) == ("rev-1", ["a"], "new")
    sums = daily_counts("passage_id", old).groupby("passage_id")[["shown", "up", "down"]].sum()
    assert sums.to_numpy().tolist() == [[2, 3, 1], [2, 2, 2]]
    engine = create_engine(old)
    with engine.connect() as connection:
        for table in ("served", "passage_days"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0
    engine.dispose()


def test_a_move_that_fails_half_way_leaves_everything_as_it_was(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tables, "adding", lambda statement: text("no SQL"))
        engine = connect(old)
        with pytest.raises(Exception, match="no SQL"):
            create_tables(engine)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT count(*) FROM served")).scalar() == 2
            assert connection.execute(text("SELECT count(*) FROM answers")).scalar() == 1
        engine.dispose()
    assert counts(old) == [["a", 1, 2, 1], ["b", 2, 2, 1]] and len(labelled("retrieval", old)) == 1


def test_many_that_open_it_at_once_count_everything_once(old: str, tmp_path: Path) -> None:
    def opened() -> None:
        engine = connect(old)
        create_tables(engine)
        engine.dispose()

    threads = [threading.Thread(target=opened) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert counts(old) == [["a", 1, 2, 1], ["b", 2, 2, 1]]
    engine = connect(old)
    with engine.begin() as connection:
        assert len(connection.execute(answers.select()).all()) == 3
    engine.dispose()
