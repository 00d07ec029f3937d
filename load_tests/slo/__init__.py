"""Service level objectives: what is promised, and whether a load test kept it. A YAML file an endpoint lies beside."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from load_tests import asked
from load_tests.questions import as_question
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


class SLO(BaseModel):
    """What a model owes its users: requests answered per second, 95th percentile of latency (ms), share of errors.

    ``units_per_s``: the task's own measure a second beside it, seconds of audio or sentences (0: not promised).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    requests_per_s: float = Field(default=50, ge=0)
    units_per_s: float = Field(default=0, ge=0)
    p95_ms: float = Field(default=200, gt=0)
    error_rate: float = Field(default=0.005, ge=0, le=1)
    min_requests: int = Field(default=50, ge=1)


class LoadSettings(BaseModel):
    """The load to offer: users at once, requests/s in all (None: users think), seconds, timeout (s)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    users: int = Field(default=24, ge=1, le=10_000)
    rate: float | None = Field(default=60, gt=0)
    seconds: float = Field(default=15, ge=1, le=3600)
    timeout_s: float = Field(default=5, gt=0, le=3600)


class Question(BaseModel):
    """What a user asks of an endpoint that answers questions, and which kind of user; nothing marks the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    question: str = Field(min_length=1)
    persona: str = ""


class LoadTest(BaseModel):
    """One SLO file: what is promised under ``slo``, the load that asks for it under ``load``.

    ``questions``: what is asked where a load test is given no requests of its own; empty where others are needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    slo: SLO = SLO()
    load: LoadSettings = LoadSettings()
    questions: tuple[Question, ...] = ()


def read_slo(source: LoadTest | Path | str) -> LoadTest:
    """Read an SLO file: a path, or the name of an endpoint whose file lies beside this one; a `LoadTest` stays itself.

    Those of systems that lie elsewhere are in a ``load_tests/slo`` on PYTHONPATH (``python -m manifests.write --to``).
    Raises SluiceError when the file is missing or says something it should not.
    """
    if isinstance(source, LoadTest):
        return source
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"}:
        places = [Path(__file__).parent, *(Path(place) / "load_tests" / "slo" for place in sys.path)]
        files = [place / f"{source}.yaml" for place in places]
        path = next((file for file in files if file.is_file()), files[0])
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in Path(__file__).parent.glob("*.yaml")))
        raise SluiceError(f"no SLO file {path}; name a YAML file or one of the endpoints {known}")
    try:
        return LoadTest.model_validate(yaml.safe_load(path.read_text()) or {})
    except (ValidationError, yaml.YAMLError) as error:
        raise SluiceError(f"{path}: {error}") from error


def own_questions(source: LoadTest | Path | str) -> list[asked.Row]:
    """Request rows (see `load_tests.asked`) of the questions in an SLO file; SluiceError where there is none in it."""
    found = read_slo(source).questions
    if not found:
        raise SluiceError("the SLO file has no questions: add some, or name a file of requests or of questions")
    return asked.from_questions([as_question(number, one.model_dump()) for number, one in enumerate(found)])


def figures(samples: "pd.DataFrame", protocol: str = "") -> dict[str, float | int]:
    """Requests, rate, error share and latency percentiles (ms) of one load window; names end in ``_<protocol>``.

    Percentiles are of answered requests only: a refused connection is quick, and would flatter them. The rate counts
    answered requests over the window's own length, from the first request's start to the last answer; so does that of
    the task's own units, such as ``audio_s_per_s`` (see `serving.contract.task.Task`).
    """
    end = f"_{protocol}" if protocol else ""
    if not len(samples):
        return {f"requests{end}": 0}
    good = answered(samples)
    started = samples["at"] - samples["latency_ms"] / 1000
    window = max(float(samples["at"].max() - started.min()), 1e-9)
    found: dict[str, float | int] = {
        f"requests{end}": len(samples),
        f"errors{end}": int((~good).sum()),
        f"error_rate{end}": round(float((~good).mean()), 5),
        f"requests_per_s{end}": round(float(good.sum()) / window, 2),
    }
    if name := units_of(samples):
        found[f"{name}{end}"] = round(float(samples.loc[good, "units"].sum()) / window, 2)
    if good.any():
        p50, p95, p99 = samples.loc[good, "latency_ms"].quantile([0.5, 0.95, 0.99])
        found |= {f"p50_ms{end}": round(p50, 2), f"p95_ms{end}": round(p95, 2), f"p99_ms{end}": round(p99, 2)}
    labelled = samples.loc[good, "correct"].dropna()
    if len(labelled):
        found[f"share_correct{end}"] = round(float(labelled.astype(bool).mean()), 4)
    return found


def units_of(samples: "pd.DataFrame") -> str:
    """Name of the figure that counts the task's own units; "" where requests alone count."""
    return asked.units_of(str(samples["task"].iloc[0])) if len(samples) else ""


def answered(samples: "pd.DataFrame") -> "pd.Series[bool]":
    """Which requests got a 2xx answer of the right shape."""
    return samples["status"].between(200, 299) & (samples["error"].fillna("") == "")


def judge(samples: "pd.DataFrame", slo: SLO, protocol: str = "") -> Verdict:
    """Were the objectives kept? A pure function from samples (see `load_tests.run`) to a verdict of the gate ``load``.

    Args:
        samples: one row a request: at (s), latency_ms, status, error, correct, task, units.
        slo: what was promised; ``requests_per_s`` and ``units_per_s`` 0 ask for no rate.
        protocol: how the requests went in, e.g. ``through_split``; it ends every figure's name.

    """
    found = figures(samples, protocol)
    end = f"_{protocol}" if protocol else ""
    where = f" {protocol.replace('_', ' ')}" if protocol else ""
    count, rate, p95 = found[f"requests{end}"], found.get(f"requests_per_s{end}", 0), found.get(f"p95_ms{end}")
    errors = found.get(f"error_rate{end}", 1.0)
    missed = []
    if count < slo.min_requests:
        missed.append(f"too few requests: {count} of {slo.min_requests}")
    if errors > slo.error_rate:
        missed.append(f"errors {errors:.2%} over {slo.error_rate:.2%} ({_commonest_error(samples)})")
    if p95 is not None and p95 > slo.p95_ms:
        missed.append(f"p95 {p95:.0f} ms over {slo.p95_ms:.0f} ms")
    if rate < slo.requests_per_s:
        missed.append(f"{rate:.1f} requests/s under {slo.requests_per_s:g}")
    name = units_of(samples)
    units = float(found.get(f"{name}{end}", 0)) if name else float(rate)
    measure = name.removesuffix("_per_s").replace("audio_s", "s of audio") or "requests"
    if units < slo.units_per_s:
        missed.append(f"{units:.1f} {measure}/s under {slo.units_per_s:g}")
    if missed:
        return Verdict("load", False, f"SLO missed{where}: " + "; ".join(missed), found)
    rates = f"{rate:.0f} requests/s" + (f", {units:.0f} {measure}/s" if name else "")
    return Verdict("load", True, f"SLO kept{where}: {rates}, p95 {p95:.0f} ms, errors {errors:.2%}", found)


def _commonest_error(samples: "pd.DataFrame") -> str:
    bad = samples.loc[~answered(samples)] if len(samples) else samples
    if not len(bad):
        return "no request was answered"
    (status, error), _ = Counter(zip(bad["status"], bad["error"].fillna(""), strict=True)).most_common(1)[0]
    return f"mostly {f'status {status}' if status else 'no connection'}{f': {error}' if error else ''}"[:200]
