"""A real Prometheus scrapes two real revisions under load and the exporter; a real Alertmanager hears of trouble."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from monitoring_files import MONITORING, alerts, tool
from watching import Watched, busy_page, history, start_sluice, start_watchers, target, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow's own
]


@pytest.fixture(scope="module")
def watched(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    promtool, home = tool("promtool"), tmp_path_factory.mktemp("watched")
    with contextlib.ExitStack() as stack:
        urls, exporter = start_sluice(stack, tiny_bundle, home)
        page = until("90 answers", lambda: busy_page(urls[0]))
        (home / "history").write_text(history(page, 'namespace="prod",inferenceservice="codebase",pod="pod-1"'))
        backfill = [promtool, "tsdb", "create-blocks-from", "openmetrics", home / "history", home / "data"]
        subprocess.run(backfill, check=True, capture_output=True)
        targets = [target(url, "prod/sluice-predictors", f"pod-{n}", inferenceservice="codebase")
                   for n, url in enumerate(urls, 1)]  # fmt: skip
        yield start_watchers(stack, home, [*targets, target(exporter, "prod/sluice-exporter", "pod-x")])


def test_rules_are_evaluated_without_a_complaint(watched: Watched) -> None:
    def evaluated() -> Any:
        rules = [rule for group in watched.get("rules")["groups"] for rule in group["rules"]]
        return all(rule["health"] != "unknown" for rule in rules) and rules

    rules = until("every rule evaluated", evaluated)
    assert {rule["name"] for rule in rules if rule["type"] == "alerting"} == set(alerts())
    assert [rule for rule in rules if rule["health"] != "ok" or rule.get("lastError")] == []


def chosen(watched: Watched, board: dict[str, Any]) -> dict[str, str]:
    """Values of a dashboard's variables, as Grafana finds them: every one that there is."""
    values: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
            asked = {"match[]": substituted(selector, values)}
            rows = until(f"a choice of {variable['name']}", lambda asked=asked: watched.get("series", **asked))
            values[variable["name"]] = "|".join(sorted({row[label] for row in rows}))
    return values


def substituted(query: str, values: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda name: {"__rate_interval": "15s", **values}[name[1]], query)


def has_data(watched: Watched, query: str, instant: bool) -> bool:
    now = time.time()
    if instant:
        return any(row["value"][1] != "NaN" for row in watched.get("query", query=query)["result"])
    rows = watched.get("query_range", query=query, start=now - 30, end=now, step=5)["result"]
    return any(value != "NaN" for row in rows for _, value in row["values"])


@pytest.mark.parametrize("path", sorted((MONITORING / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_every_query_of_every_panel_returns_data(watched: Watched, path: Path) -> None:
    board = json.loads(path.read_text())
    values = chosen(watched, board)
    waiting = {(panel["title"], substituted(target["expr"], values)): bool(target.get("instant"))
               for panel in board["panels"] for target in panel["targets"]}  # fmt: skip
    assert waiting

    def all_there() -> bool:
        for key in [key for key, instant in waiting.items() if has_data(watched, key[1], instant)]:
            del waiting[key]
        return not waiting

    with contextlib.suppress(AssertionError):
        until("data in every panel", all_there)
    assert not waiting, waiting


def test_questions_like_those_of_a_week_ago_are_no_drift(watched: Watched) -> None:
    def distance() -> Any:
        return watched.get("query", query="sluice:input_characters:ks_1d_1w")["result"]

    rows = until("a day to compare with a week before", distance)
    assert [row["metric"]["inferenceservice"] for row in rows] == ["codebase"]
    until("all lengths asked as often as each other", lambda: 0 <= float(distance()[0]["value"][1]) < 0.1)


def test_a_failed_run_reaches_the_people_who_write_tickets_with_its_runbook(watched: Watched) -> None:
    def heard() -> Any:
        found = httpx.get(f"http://{watched.alertmanager}/api/v2/alerts").json()
        return [alert for alert in found if alert["labels"]["alertname"] == "SluiceRunFailed"]

    alert = until("Alertmanager hears of the failed run", heard)[0]
    assert [receiver["name"] for receiver in alert["receivers"]] == ["tickets"]
    assert alert["annotations"]["summary"] == "The last run of codebase failed"
    assert alert["annotations"]["runbook_url"].endswith("#sluicerunfailed")
