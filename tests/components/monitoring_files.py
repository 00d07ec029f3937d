"""The monitoring manifests as plain files of Prometheus and Alertmanager, by which their own tools and servers run."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.rollout.manifests import BASE

MONITORING = BASE.parent / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yaml"))
RENAMED = {"source_match": "source_matchers", "target_match": "target_matchers", "api_url": "api_url_file"}


def tool(name: str) -> str:
    """The path of a tool; skips where it is not installed."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"no {name}: install Debian's prometheus and prometheus-alertmanager")
    return found


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def plain(path: Path, annotations: bool = True) -> dict[str, Any]:
    """What a PrometheusRule says, as a rule file of Prometheus' own."""
    spec = load(path)["spec"]
    for rule in [] if annotations else [rule for group in spec["groups"] for rule in group["rules"]]:
        rule.pop("annotations", None)  # promtool's cases would have to repeat them word by word
    return spec


def alerts() -> dict[str, dict[str, Any]]:
    rules = [rule for path in RULES for group in plain(path)["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def snake(value: Any) -> Any:
    """An AlertmanagerConfig's part in the words of alertmanager.yml, as prometheus-operator writes it.

    Matchers become strings, and references to secrets the names of files (for PagerDuty's key just a word).
    """
    if isinstance(value, list):
        return [snake(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "name" in value and "value" in value:
        return f'{value["name"]}{value.get("matchType", "=")}"{value["value"]}"'
    made = {}
    for key, entry in value.items():
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
        name = RENAMED.get(name, name)
        if name in ("routing_key", "api_url_file"):
            assert set(entry) == {"name", "key"}, "receivers name a secret and hold none"
            entry = f"/secrets/{entry['name']}/{entry['key']}"
        elif name == "details":
            entry = {pair["key"]: pair["value"] for pair in entry}
        made[name] = snake(entry)
    return made


def alertmanager_config() -> dict[str, Any]:
    """The AlertmanagerConfig as the operator hangs it, with each namespace's, below a root of its own."""
    config = snake(load(MONITORING / "alertmanager.yaml")["spec"])
    config["route"] = {"receiver": "nobody", "routes": [config["route"]]}
    config["receivers"].append({"name": "nobody"})
    return config
