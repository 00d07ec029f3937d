"""validate as a function: tables in, clean tables, quarantine, verdict and report out."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.tasks import find
from components.validate.gate import ValidateSettings
from components.validate.report import write_report
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.contract.verdict import Verdict, write_verdicts

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


class Outputs(NamedTuple):
    """Where validate writes: two clean tables, the quarantine (parquet each), the verdict (JSON), the report (HTML)."""

    corpus: str | Path
    examples: str | Path
    quarantine: str | Path
    verdict: str | Path
    report: str | Path


def validate(corpus: str | Path, examples: str | Path, settings: Mapping[str, Any], out: Outputs) -> Verdict:
    """Split both tables (parquet) into clean rows and quarantine, write all of ``out``, then let the gate decide.

    ``settings``: a section of YAML; its ``task`` says what the rows are for and so which suites
    judge them. Under the floor the outputs are still written, for whoever looks into it, and SluiceError says what is
    wrong in one sentence. SluiceError also for an unknown task and for a missing file or column.
    """
    kind = find(str(settings.get("task", ""))).data()
    chosen: ValidateSettings = kind.Settings.model_validate(dict(settings))
    makers = kind.MAKERS
    tables = _read(Path(corpus), kind.CORPUS, makers[0]), _read(Path(examples), kind.EXAMPLES, makers[1])
    checked = kind.check(*tables, chosen)
    for frame, target in zip(checked[:3], out[:3], strict=True):
        with atomic_file(target) as scratch:
            frame.to_parquet(scratch, index=False, coerce_timestamps="us")
    write_verdicts([checked.verdict], out.verdict)
    write_report(checked, kind.picture, chosen.examples, out.report)
    log.info("%s: %s", "passed" if checked.verdict.passed else "stopped", checked.verdict.reason)
    if not checked.verdict.passed:
        raise SluiceError(f"the data gate stopped the run: {checked.verdict.reason}; see the report {out.report}")
    return checked.verdict


def _read(path: Path, needed: tuple[str, ...], maker: str) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise SluiceError(f"{path}: no such table; run {maker} first")
    frame = pd.read_parquet(path).reset_index(drop=True)
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        raise SluiceError(f"{path}: no column {', '.join(map(repr, missing))}; expected what components/{maker} writes")
    return frame
