"""Rules and routes, by Prometheus' and Alertmanager's own tools, and what they must agree with."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from monitoring_files import MONITORING, RULES, alertmanager_config, alerts, load, plain, tool

from components.rollout.manifests import BASE, documents
from load_tests.slo import read_slo

CASES = Path(__file__).parent / "monitoring"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("alertmanager") / "alertmanager.yml"
    place.write_text(yaml.safe_dump(alertmanager_config()))
    return place


def test_every_rule_is_one_to_prometheus(tmp_path: Path) -> None:
    for path in RULES:
        (tmp_path / path.name).write_text(yaml.safe_dump(plain(path)))
    run(tool("promtool"), "check", "rules", *sorted(tmp_path.glob("*.yaml")))


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    for path in RULES:
        (tmp_path / path.name).write_text(yaml.safe_dump(plain(path, annotations=False)))
    cases = [Path(shutil.copy(path, tmp_path)) for path in sorted(CASES.glob("*.test.yaml"))]
    run(tool("promtool"), "test", "rules", *cases)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    checks = [c for path in CASES.glob("*.test.yaml") for test in load(path)["tests"] for c in test["alert_rule_test"]]
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == set(alerts())
    assert {check["alertname"] for check in checks if not check["exp_alerts"]} == set(alerts())


def test_every_alert_has_its_section_in_the_runbook_and_the_runbook_no_other() -> None:
    runbook = (MONITORING / "RUNBOOK.md").read_text()
    sections = re.findall(r"^### (Sluice\w+)\n\n(.{40})", runbook, re.MULTILINE | re.DOTALL)
    assert {name for name, _ in sections} == set(alerts())
    for name, alert in alerts().items():
        address, anchor = alert["annotations"]["runbook_url"].split("#")
        assert (BASE.parents[1] / address).samefile(MONITORING / "RUNBOOK.md") and anchor == name.lower()
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    links = set(re.findall(r"\(#(\w+)\)", runbook))
    assert links <= {name.lower() for name in alerts()}


def test_objectives_are_those_that_every_release_is_judged_by() -> None:
    rules = [rule for group in plain(MONITORING / "rules" / "slo.yaml")["groups"] for rule in group["rules"]]
    promised = {
        (rule["labels"]["inferenceservice"], rule["record"].split(":")[1]): float(rule["expr"][len("vector(") : -1])
        for rule in rules if rule.get("record", "").endswith(":target")
    }  # fmt: skip
    bounds = {r["labels"]["inferenceservice"]: r["labels"]["le"] for r in rules if "le" in r.get("labels", {})}
    kinds = ((p.parent.name, d["kind"]) for p in BASE.glob("*/kustomization.yaml") for _, d in documents(p.parent))
    systems = {system for system, kind in kinds if kind == "InferenceService"}
    expected = {}
    for system in systems:
        slo = read_slo(system).slo
        expected[system, "slo_error_rate"] = slo.error_rate
        expected[system, "slo_p95_seconds"] = slo.p95_ms / 1000
        expected[system, "slo_min_requests"] = slo.min_requests
        assert float(bounds[system]) == slo.p95_ms / 1000
    assert promised == expected


def test_alertmanager_takes_the_routes_and_sends_pages_and_tickets_apart(alertmanager: Path) -> None:
    run(tool("amtool"), "check-config", alertmanager)
    for name, alert in alerts().items():
        receiver = {"page": "pager", "ticket": "tickets"}[alert["labels"]["severity"]]
        labels = [f"alertname={name}", f"severity={alert['labels']['severity']}", "namespace=prod"]
        said = run(tool("amtool"), "config", "routes", "test", f"--config.file={alertmanager}", *labels)
        assert said.split() == [receiver], name
    said = run(tool("amtool"), "config", "routes", "test", f"--config.file={alertmanager}", "alertname=Watchdog")
    assert said.split() == ["nobody"]


def test_inhibitions_name_alerts_that_there_are() -> None:
    for rule in load(MONITORING / "alertmanager.yaml")["spec"]["inhibitRules"]:
        for matcher in [m for m in rule["sourceMatch"] + rule["targetMatch"] if m["name"] == "alertname"]:
            for word in re.sub(r"\(Error\|Latency\)", "Error", matcher["value"]).split("|"):
                assert any(re.fullmatch(word, name) for name in alerts()), word
