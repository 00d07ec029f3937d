from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp.dsl import Dataset

from components.featurize.component import featurize as component
from components.featurize.run import run
from components.tasks.retrieval import features
from serving.contract.errors import SluiceError
from serving.feedback import feedback_url
from serving.feedback.answers import add_counts
from serving.feedback.tables import connect, create_tables

MAY = [pd.Timestamp(f"2024-05-{day:02d} 12:00", tz="UTC") for day in range(1, 32)]


def passages(n: int) -> pd.DataFrame:
    """Passage number i was last changed on 1 + i May 2024."""
    return pd.DataFrame(
        {
            "passage_id": [f"p{i}" for i in range(n)],
            "kind": ["class"] * n,
            "n_tokens": pd.array([10 + i for i in range(n)], "int32"),
            "documented": [True] * n,
            "changed_at": MAY[:n],
            "n_changes": pd.array([i for i in range(n)], "int32"),
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, coerce_timestamps="us")
    return path


def featurize(folder: Path, table: pd.DataFrame, asked: list[pd.Timestamp]) -> tuple[pd.DataFrame, pd.DataFrame]:
    ins = write(table, folder / "passages.parquet"), write(pd.DataFrame({"asked_at": asked}), folder / "q.parquet")
    outs = folder / "frame.parquet", folder / "snapshot.parquet"
    artifacts = [Dataset(uri=str(path)) for path in (*ins, *outs)]
    component.python_func(*artifacts[:2], {"task": "retrieval", "online_chunk": 2.0}, *artifacts[2:])
    return pd.read_parquet(outs[0]), pd.read_parquet(outs[1])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLUICE_FEEDBACK_DB", raising=False)
    monkeypatch.delenv("FEAST_FS_YAML_FILE_PATH", raising=False)
    return tmp_path / "home"


def count(day: date, deltas: dict[str, dict[str, int]]) -> None:
    engine = connect(feedback_url())
    create_tables(engine)
    with engine.begin() as connection:
        add_counts(connection, day, {("passage_id", item): delta for item, delta in deltas.items()})
    engine.dispose()


def test_the_frame_knows_what_was_known_and_the_snapshot_what_is(home, tmp_path):
    """3 May: p3 does not exist yet, and votes of 3 May are not known to a question asked on that day."""
    today = pd.Timestamp.now(tz="UTC").date()
    count(date(2024, 5, 2), {"p0": {"shown": 5, "up": 1}})
    count(date(2024, 5, 3), {"p0": {"shown": 2, "down": 1}})
    count(today, {"p0": {"shown": 1}, "p1": {"up": 1}, "gone": {"shown": 1}})
    frame, snapshot = featurize(tmp_path, passages(4), [MAY[2], MAY[2], MAY[3]])

    rows = frame.set_index(["event_timestamp", "passage_id"])
    third, fourth = (rows.loc[pd.Timestamp(f"2024-05-0{day}", tz="UTC")] for day in (4, 5))
    assert third.loc["p0", ["n_tokens", "shown", "up", "down"]].tolist() == [10, 5, 1, 0]
    assert third.loc["p3", ["kind", "n_tokens"]].tolist() == ["", 0]
    assert fourth.loc["p0", ["shown", "up", "down"]].tolist() == [7, 1, 1]
    assert fourth.loc["p3", ["kind", "documented", "n_changes"]].tolist() == ["class", 1, 3]
    assert fourth.loc["p3", "changed_day"] == (MAY[3] - pd.Timestamp(0, tz="UTC")).days
    assert len(frame) == 2 * 4 and frame["n_tokens"].dtype == "int64"

    now = snapshot.set_index("passage_id")
    assert now.index.tolist() == ["p0", "p1", "p2", "p3"]
    assert now.loc["p0", ["shown", "up", "down"]].tolist() == [8, 1, 1]
    assert now.loc["p1", ["shown", "up"]].tolist() == [0, 1]
    assert now.loc["p3", "kind"] == "class"
    assert sorted(p.name for p in (home / "features").iterdir() if p.name.startswith(".")) == [".lock"]


def test_running_again_is_the_same_and_changed_passages_replace_the_old(home, tmp_path):
    first = featurize(tmp_path, passages(3), MAY[4:5])
    again = featurize(tmp_path, passages(3), MAY[4:5])
    for before, after in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(before, after)
    changed = passages(5).drop(index=0).assign(n_tokens=99)
    _, snapshot = featurize(tmp_path, changed, MAY[4:5])
    assert snapshot["passage_id"].tolist() == ["p1", "p2", "p3", "p4"]
    assert snapshot["n_tokens"].tolist() == [99] * 4


def test_two_pipelines_at_once_both_finish_with_their_own_passages(home, tmp_path):
    def one(number: int) -> list[int]:
        folder = tmp_path / str(number)
        folder.mkdir()
        _, snapshot = featurize(folder, passages(3).assign(n_tokens=number), MAY[:2])
        return snapshot["n_tokens"].tolist()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, (1, 2))) == [[1] * 3, [2] * 3]


def test_of_too_many_days_those_with_the_fewest_questions_are_left_out():
    asked = pd.DataFrame({"asked_at": [MAY[0]] * 3 + [MAY[1]] + [MAY[2]] * 2 + [pd.NaT]})
    grid = features.entity_df(passages(1), asked, features.Settings(task="retrieval", max_days=2))
    assert grid["event_timestamp"].dt.strftime("%d").tolist() == ["02", "04"]


def test_a_change_dated_in_the_future_counts_as_just_made():
    rows = features.from_tables(passages(3), pd.DataFrame(), pd.DataFrame(), MAY[1])["passage_features"]
    assert rows["event_timestamp"].tolist() == [MAY[0], MAY[1], MAY[1]]


@pytest.mark.parametrize(("drop", "complaint"), [("kind", "no column kind"), (None, "no such file")])
def test_a_missing_input_is_named(home, tmp_path, drop, complaint):
    path = tmp_path / "passages.parquet"
    if drop:
        write(passages(1).drop(columns=drop), path)
    with pytest.raises(SluiceError, match=complaint):
        run(path, tmp_path / "q", {"task": "retrieval"}, tmp_path / "f", tmp_path / "s")


def test_a_feedback_database_that_is_away_is_one_clear_error(home, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", f"sqlite:///{tmp_path}")
    with pytest.raises(SluiceError, match="check SLUICE_FEEDBACK_DB"):
        featurize(tmp_path, passages(1), MAY[:1])
    assert not (tmp_path / "frame.parquet").exists()
