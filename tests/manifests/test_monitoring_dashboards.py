"""Grafana's dashboards, as far as they can be judged without it, and the figures that they and the rules read."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring_files import MONITORING, RULES, plain

from serving.contract.task import all_tasks
from serving.core.features import OnlineFeatures
from serving.core.metrics import ServerMetrics
from serving.core.model import ServedModel
from serving.core.options import Options
from serving.feedback import FeedbackStore
from serving.retrieval import PASSAGES

ROOT = MONITORING.parents[1]
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((MONITORING / "dashboards").glob("*.json"))}
UNITS = {"short", "none", "s", "bytes", "reqps", "percentunit"}
NAMES = r"(?<![\w:])sluice[_:][\w:]+(?=[{\[ )/]|$)"


def queries() -> list[str]:
    return [t["expr"] for board in DASHBOARDS.values() for panel in board["panels"] for t in panel["targets"]]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    board = DASHBOARDS[name]
    assert board["uid"] == f"sluice-{name}" and board["title"].startswith("Sluice: ") and board["description"]
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables.pop("datasource")["type"] == "datasource"
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert variables and all(variable["datasource"] == source for variable in variables.values())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) and len({panel["title"] for panel in board["panels"]}) == len(ids)
    for panel in board["panels"]:
        assert panel["datasource"] == source and panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"] and len({t["refId"] for t in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= set(variables), (panel["title"], used)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_lies_on_another(name: str) -> None:
    places = [panel["gridPos"] for panel in DASHBOARDS[name]["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= 24 and p["w"] and p["h"] for p in places)
    for a, b in itertools.combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


def test_every_query_is_one_to_prometheus(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        pytest.skip("no promtool: install Debian's prometheus")
    rules = [{"record": "x", "expr": re.sub(r"\$__rate_interval", "1m", q), "labels": {"n": str(at)}}
             for at, q in enumerate(queries())]  # fmt: skip
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "queries.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_whatever_is_asked_for_is_exposed_or_recorded(tmp_path: Path) -> None:
    server, store = ServerMetrics("r1"), FeedbackStore(f"sqlite:///{tmp_path / 'feedback.db'}")
    store.close()
    import pandas as pd

    features = OnlineFeatures(PASSAGES, [], pd.DataFrame({"passage_id": []}))
    server.watch(store, features)
    for task in all_tasks():
        ServedModel(Options("m", tmp_path), task, server, store)  # makes its task's figures
    exposed = set(re.findall(r"^# TYPE (\w+)", server.page().decode(), re.MULTILINE))
    exposed |= set(re.findall(r'"(sluice_\w+)"', (ROOT / "components/report/sources.py").read_text()))
    exposed |= set(re.findall(r'"(sluice_\w+)"', (ROOT / "components/report/exporter.py").read_text()))
    rules: list[dict[str, Any]] = [rule for path in RULES for group in plain(path)["groups"] for rule in group["rules"]]
    known = exposed | {rule["record"] for rule in rules if "record" in rule}
    asked = {name for text in [*queries(), *(rule["expr"] for rule in rules)] for name in re.findall(NAMES, text)}
    assert len(asked) > 50
    assert {name for name in asked if re.sub(r"_(bucket|count|sum)$", "", name) not in known} - known == set()


def test_grafana_finds_the_dashboards_by_their_label() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl to build kustomizations with")
    built = subprocess.run(["kubectl", "kustomize", MONITORING], capture_output=True, text=True, check=True).stdout
    maps = [made for made in yaml.safe_load_all(built) if made["kind"] == "ConfigMap"]
    assert all(made["metadata"]["labels"]["grafana_dashboard"] == "1" for made in maps)
    assert [json.loads(text) for made in maps for text in made["data"].values()] == [
        DASHBOARDS[name] for name in ("canary", "data-quality", "serving", "training")
    ]
