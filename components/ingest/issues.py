"""GitHub issues and pull requests from a REST export: a JSON object a line, as ``GET /repos/{o}/{r}/issues`` gives."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from components.common.prose import squeeze
from components.common.records import Record, Skipped
from serving.contract.errors import SluiceError


def read_issues(path: str) -> tuple[list[Record], list[Skipped]]:
    """Records (title and body) and the lines that are no issue. Source: GitHub REST API, "List repository issues"."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise SluiceError(
            f"issues {path!r}: no such file; name a JSON-lines export of GitHub's REST API, or leave it empty"
        )
    records: list[Record] = []
    skipped: list[Skipped] = []
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                records.append(_record(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                skipped.append(Skipped(f"{file.name}:{number}", f"not an issue: {type(error).__name__} {error}"))
    return records, skipped


def _record(row: dict[str, Any]) -> Record:
    number, title = int(row["number"]), squeeze(str(row["title"]))
    what = "pull request" if row.get("pull_request") else "issue"
    labels = ", ".join(str(x["name"] if isinstance(x, dict) else x) for x in row.get("labels") or [])
    state = f" [{row['state']}]" if row.get("state") else ""
    signature = f"{what} #{number}{state}" + (f" labels: {labels}" if labels else "")
    doc = f"{title}\n\n{(row.get('body') or '').replace(chr(13), '')}".strip()
    return Record(
        f"issues/{number}", f"#{number} {title}", "issue", signature, doc, "", 0, 0,
        "", str(row.get("html_url") or ""), _epoch(row.get("updated_at") or row.get("created_at")),
    )  # fmt: skip


def _epoch(stamp: Any) -> int:
    return int(datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).timestamp()) if stamp else 0
