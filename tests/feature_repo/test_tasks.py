"""A task elsewhere on PYTHONPATH brings its own entities: viewers, by number, and films."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from components.featurize.run import run
from serving.contract.errors import SluiceError

ROOT, ELSEWHERE = Path(__file__).parents[2], Path(__file__).parent / "watching"
STEP = """
import sys
from components.featurize.run import run
run(*sys.argv[1:3], {"task": "watching", "online_chunk": 1.0}, *sys.argv[3:])
"""
MAY = [pd.Timestamp(f"2024-05-{day:02d} 12:00", tz="UTC") for day in range(1, 5)]
LOG = pd.DataFrame(
    {
        "click_id": ["c1", "c2", "c3", "c4"],
        "user_id": [7, 7, 8, 7],
        "film_id": ["heat", "alien", "heat", "ran"],
        "rating": [4.0, 2.0, 5.0, 3.0],
        "time": MAY,
    }
)


def python(home: Path, *arguments: str, cwd: Path = ROOT) -> str:
    path = os.pathsep.join([str(ROOT), str(ELSEWHERE)])
    environment = {**os.environ, "PYTHONPATH": path, "SLUICE_HOME": str(home), "FEAST_USAGE": "False"}
    environment.pop("FEAST_FS_YAML_FILE_PATH", None)
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def featurized(tmp_path):
    """The home of a run, and its frame and snapshot; viewers 8 and 9 have clicked since the log ended."""
    home = tmp_path / "home"
    home.mkdir()
    clicks = {"user_id": [8, 9], "film_id": ["ran", "heat"], "rating": [1.0, 4.0]}
    pd.DataFrame(clicks).to_parquet(home / "clicks.parquet")
    ins, outs = [tmp_path / "films", tmp_path / "log"], [tmp_path / "frame", tmp_path / "snapshot"]
    pd.DataFrame({"film_id": ["heat", "alien", "ran"]}).to_parquet(ins[0])
    pd.concat([LOG, LOG[2:3].assign(click_id="c0", user_id=9, time=MAY[0])]).to_parquet(ins[1], coerce_timestamps="us")
    python(home, "-c", STEP, *map(str, [*ins, *outs]))
    return home, pd.read_parquet(outs[0]), pd.read_parquet(outs[1])


def test_each_example_sees_its_user_and_item_as_they_were_just_before_it(featurized):
    _, frame, snapshot = featurized
    rows = frame.set_index("click_id")
    assert rows["watched"].to_dict() == {"c0": 0, "c1": 0, "c2": 1, "c3": 0, "c4": 2}
    assert rows.loc["c4", "rating"] == 3.0 and rows.loc["c4", "last_films"].tolist() == ["heat", "alien"]
    assert rows.loc["c1", "last_films"].tolist() == []
    assert rows["views"].to_dict() == {"c0": 0, "c1": 0, "c2": 0, "c3": 2, "c4": 0}
    assert frame["user_id"].dtype == frame["views"].dtype == "int64"

    online = snapshot.set_index("user_id")
    assert online.index.tolist() == [7, 8, 9] and snapshot.columns.tolist()[1:] == ["watched", "rating", "last_films"]
    assert online["watched"].tolist() == [3, 2, 2] and online["rating"].tolist() == [3.0, 3.0, 4.5]
    assert [films.tolist() for films in online["last_films"]] == [["alien", "ran"], ["heat", "ran"], ["heat", "heat"]]


@pytest.mark.e2e
def test_feast_finds_the_task_and_the_scheduled_job_loads_it_where_retrieval_has_not_run(featurized):
    home, _, _ = featurized
    (home / "features" / "online.db").unlink()
    assert python(home, "-m", "components.featurize.materialise").strip() == "loaded features of watching"
    config = str(home / "features" / "feature_store.yaml")
    feast = [str(Path(sys.executable).with_name("feast")), "-f", config]
    python(home, *feast, "apply", cwd=ROOT / "feature_repo")
    listed = python(home, *feast, "feature-views", "list")
    for view in ("viewer_features", "film_features", "passage_features", "feedback_features"):
        assert view in listed
    read = ["get-online-features", "--features", "viewer_features:watched", "-e", "user_id=8"]
    assert json.loads(python(home, *feast, *read)) == {"user_id": [8], "watched": [2]}


def test_a_task_without_features_is_told_so(tmp_path):
    with pytest.raises(SluiceError, match="leave the step featurize out"):
        run(tmp_path, tmp_path, {"task": "highlights"}, tmp_path, tmp_path)
