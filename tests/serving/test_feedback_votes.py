"""Who may say what about an answer: votes, changes, corrections and those who review them."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from answered import cited, heard
from typer.testing import CliRunner

from pipelines.cli import app
from serving.contract.errors import SluiceError
from serving.contract.refusals import Refused
from serving.feedback import FeedbackStore, corrections, daily_counts, feedback_count, labelled, votes_by_revision
from serving.feedback.reviews import accepted, all_corrections, decide
from serving.feedback.votes import Rate, Vote, client_of, pseudonym

HEARD, OTHER = "ab" * 32, "cd" * 32
SAID = {
    "duration": 7.5,
    "segments": [
        {"start": s, "end": e, "text": t} for s, e, t in ((0.0, 2.0, "one"), (2.0, 4.5, "to"), (6.0, 8.0, "x"))
    ],
}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'feedback.db'}"
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", url)
    return url


@pytest.fixture
def store(url: str) -> Iterator[FeedbackStore]:
    store = FeedbackStore(url, feature_server="")
    cited(store, "cited", "rev-1", "why?", ["a", "b"])
    heard(store, "heard", "rev-2", "transcription", "talk", SAID, HEARD)
    yield store
    store.close()


def test_an_answer_has_one_vote_of_each_voter_and_a_change_is_a_change(store: FeedbackStore, url: str) -> None:
    votes = [("up", "ada"), ("up", "ada"), ("down", "ada"), ("down", "bob"), ("up", "cyd"), ("down", "ada")]
    assert [store.feedback("cited", vote, client=who)["counted"] for vote, who in votes] == [
        "new", "same", "changed", "new", "new", "same",
    ]  # fmt: skip
    assert daily_counts("passage_id", url)[["passage_id", "shown", "up", "down"]].to_numpy().tolist() == [
        ["a", 1, 1, 2],
        ["b", 1, 1, 2],
    ]
    assert labelled("retrieval", url)[["asked", "vote"]].to_numpy().tolist() == [["why?", "down"]]
    assert votes_by_revision(0, url).to_numpy().tolist() == [["rev-1", "down", 2], ["rev-1", "up", 1]]


def test_many_parts_of_one_transcript_are_one_vote_of_a_voter(store: FeedbackStore, url: str) -> None:
    counted = [store.feedback("heard", "down", None, start, end)["counted"]
               for start, end in ((0.0, 2.0), (2.0, 4.5), (2.01, 4.49), (6.0, None), (None, None))]  # fmt: skip
    assert counted == ["new", "part", "same", "part", "part"]
    assert votes_by_revision(0, url).to_numpy().tolist() == [["rev-2", "down", 1]]


def test_a_client_votes_so_often_and_no_more_and_others_are_not_held_up(url: str) -> None:
    store = FeedbackStore(url, feature_server="", votes_a_minute=5)
    cited(store, "r", "rev", "why?", ["a"])

    async def cast(address: str, identity: str = "") -> str:
        try:
            return str((await store.cast(Vote("r", "up"), identity, address))["counted"])
        except Refused as error:
            assert error.headers["retry-after"] and "5 votes within a minute" in str(error)
            return str(error.status)

    async def all_of_them() -> list[str]:
        first = [await cast("192.0.2.7") for _ in range(7)]
        return [*first, await cast("192.0.2.8"), await cast("192.0.2.7", "ada")]

    assert asyncio.run(all_of_them()) == ["new", "same", "same", "same", "same", "429", "429", "new", "new"]
    store.close()
    rate = Rate(60)
    for _ in range(60):
        rate.take("a", 0.0)
    with pytest.raises(Refused):
        rate.take("a", 0.5)
    rate.take("a", 1.6)


def test_a_voter_is_known_to_one_store_alone_and_by_no_address(store: FeedbackStore, url: str, tmp_path: Path) -> None:
    store.feedback("cited", "up", client=client_of("", "192.0.2.7"))
    assert b"192.0.2.7" not in (tmp_path / "feedback.db").read_bytes() + (tmp_path / "feedback.db-wal").read_bytes()
    assert pseudonym("192.0.2.7", b"one") != pseudonym("192.0.2.7", b"two")
    assert client_of("192.0.2.7", "x") != client_of("", "192.0.2.7")


@pytest.mark.parametrize(
    ("start", "end"),
    [(0.5, 2.0), (0.0, 1.0), (0.0, 1e5), (2.0, 2.0), (4.5, 6.0), (100.0, 101.0), (None, 2.0), (6.0, 4.5)],
)
def test_a_correction_is_of_a_part_of_the_answer(store: FeedbackStore, start: float | None, end: float) -> None:
    with pytest.raises(SluiceError, match="of its parts|both times of a part"):
        store.feedback("heard", "down", "all of it", start, end)


@pytest.mark.parametrize("value", [True, "0", [], float("nan"), float("inf"), -1.0, 1e9])
def test_times_that_are_no_seconds_are_refused(value: object) -> None:
    with pytest.raises(SluiceError, match="seconds"):
        Vote("heard", "down", "x", value, 2.0)  # type: ignore[arg-type]


def test_a_correction_is_a_proposal_until_somebody_accepts_it_by_name(store: FeedbackStore, url: str) -> None:
    heard(store, "again", "rev-2", "transcription", "talk", SAID, OTHER)  # another recording of the same name
    store.feedback("heard", "down", "two", 2.0, 4.5, "ada")
    store.feedback("again", "down", "too", 2.0, 4.5, "bob")
    store.feedback("heard", "down", "end\x1b[31m", 6.0, 8.0, "bob")
    assert accepted(url) == {} and feedback_count(url) == 0
    first, second, last = all_corrections(url)
    assert (first.state, first.answer, last.end) == ("proposed", "to", 7.5)  # not beyond the recording's end
    listed = CliRunner().invoke(app, ["corrections", "list"]).output
    assert first.id in listed and "\x1b" not in listed and HEARD[:12] in listed and OTHER[:12] in listed
    for arguments in (
        ["accept", first.id],
        ["accept", "nothing", "--reviewer", "Eve"],
        ["accept", first.id, "--reviewer", ""],
    ):
        assert CliRunner().invoke(app, ["corrections", *arguments]).exit_code != 0
    assert accepted(url) == {}
    assert CliRunner().invoke(app, ["corrections", "accept", first.id, "--reviewer", "Eve"]).exit_code == 0
    assert CliRunner().invoke(app, ["corrections", "reject", second.id, "--reviewer", "Eve"]).exit_code == 0
    store.feedback("heard", "down", "rewritten", 2.0, 4.5, "ada")  # what was accepted stays as it was
    assert [(c.correction, c.reviewer) for c in accepted(url)[HEARD]] == [("two", "Eve")] and OTHER not in accepted(url)
    assert [c.state for c in all_corrections(url)] == ["rejected", "proposed", "proposed", "accepted"]
    before = feedback_count(url)
    decide([first.id], "rejected", "Eve", url=url)
    assert accepted(url) == {} and feedback_count(url) == before + 1
    assert "no corrections" not in CliRunner().invoke(app, ["corrections", "list", "--all"]).output


def test_decisions_travel_as_a_file(store: FeedbackStore, url: str, tmp_path: Path) -> None:
    store.feedback("heard", "down", "two", 2.0, 4.5, "ada")
    store.feedback("heard", "down", "won", 0.0, 2.0, "ada")
    file = tmp_path / "corrections.jsonl"
    assert "2 corrections" in CliRunner().invoke(app, ["corrections", "export", str(file)]).output
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0] |= {"state": "accepted", "correction": "two, says Eve"}
    file.write_text("\n".join(map(json.dumps, rows)))
    for expected in ("1 decisions", "0 decisions"):
        assert expected in CliRunner().invoke(app, ["corrections", "import", str(file), "--reviewer", "Eve"]).output
    assert [(c.correction, c.start, c.reviewer) for c in accepted(url)[HEARD]] == [("two, says Eve", 2.0, "Eve")]
    for wrong in ({"recording": "no digest"}, {"start": 9.0}, {"end": None}, {"correction": 5}, {"state": "perhaps"}):
        file.write_text(json.dumps(rows[0] | wrong))
        done = CliRunner().invoke(app, ["corrections", "import", str(file), "--reviewer", "Eve"])
        assert isinstance(done.exception, SluiceError) and "line 1" in str(done.exception), wrong


def test_a_correction_of_a_recording_that_nobody_knows_wants_its_file(
    store: FeedbackStore, url: str, tmp_path: Path
) -> None:
    heard(store, "old", "rev-2", "transcription", "talk", SAID)
    store.feedback("old", "down", "two", 2.0, 4.5)
    (one,) = all_corrections(url)
    with pytest.raises(SluiceError, match="--recording"):
        decide([one.id], "accepted", "Eve", url=url)
    (tmp_path / "talk.ogg").write_bytes(b"sound")
    arguments = ["accept", one.id, "--reviewer", "Eve", "--recording", str(tmp_path / "talk.ogg")]
    assert CliRunner().invoke(app, ["corrections", *arguments]).exit_code == 0
    assert [len(key) for key in accepted(url)] == [64]
    assert corrections("transcription", url)["recording"].tolist() == [""]
