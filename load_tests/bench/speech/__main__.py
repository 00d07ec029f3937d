"""``python -m load_tests.bench.speech``: the transcriber beside what others use for Whisper, ratios printed.

The tiny shape is Whisper tiny.en itself; base and small have Whisper's true shapes and random weights. Every engine has
the same, and must write as many tokens: speed is measured, not hearing.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console()
WEIGHTS = "tiny: tiny.en's own weights on our sample recordings; base, small: random weights; the same for every engine"


def main() -> int:
    """Run the bench. Out: 0; 1 if a promise does not hold and --strict is given; 2 for a missing part."""
    flags = _flags()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(flags.threads)))
    # After the environment is set: numpy and torch read it when they are imported.
    from load_tests.bench.judge import BenchTarget
    from load_tests.bench.page import aim, shown, word
    from load_tests.bench.speech.judge import judge
    from load_tests.bench.speech.measure import Hour, Plan, Row, hour, measure
    from serving.contract.errors import SluiceError
    from serving.contract.files import atomic_file, home

    plan = Plan(tuple(flags.shapes.split(",")), flags.tokens, flags.together, flags.rounds, flags.threads)
    try:
        with console.status("measuring") as status:

            def say(text: str) -> None:
                status.update(text)
                console.print(f"  {text}", style="dim", highlight=False)

            rows: list[Row] = measure(plan, say)
            whole: Hour | None = hour(plan, flags.hour, say) if flags.hour else None
    except SluiceError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    targets: list[BenchTarget] = judge(rows, whole)
    out: Path = flags.out or home() / "reports" / "bench_speech.json"
    with atomic_file(out) as scratch:
        figures = {
            "plan": asdict(plan),
            "weights": WEIGHTS,
            "rows": [asdict(row) for row in rows],
            "hour": asdict(whole) if whole else None,
        }
        scratch.write_text(json.dumps({**figures, "targets": [asdict(target) for target in targets]}, indent=1))
    _show(rows)
    promises = Table("", "measured", "promised", "")
    for target in targets:
        colour = {True: "green", False: "red", None: "default"}[target.met]
        promises.add_row(target.name, shown(target), aim(target), f"[{colour}]{word(target)}[/]")
    console.print(promises)
    console.print(f"\n{out}", highlight=False)
    return int(flags.strict and any(target.met is False for target in targets))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m load_tests.bench.speech", description=__doc__)
    parser.add_argument("--shapes", default="tiny,base,small", help="shapes of Whisper (default tiny,base,small)")
    parser.add_argument("--tokens", type=int, default=100, help="tokens of every window (default 100)")
    parser.add_argument("--together", type=int, default=4, help="windows decoded at once (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which the engines take turns (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every engine (default 1: CPU seconds)")
    parser.add_argument("--hour", type=int, default=3600, help="seconds of the long recording; 0 leaves it out")
    parser.add_argument("--out", type=Path, help="JSON report (default: reports/bench_speech.json in this home)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a promise does not hold")
    return parser.parse_args()


def _show(rows: Sequence[Any]) -> None:
    table = Table("shape", "windows at once", "engine", "s a window", "real-time factor")
    table.caption = f"Whisper's shapes; {WEIGHTS}"
    for row in rows:
        table.add_row(row.shape, str(row.windows), row.engine, f"{row.seconds:.3f}", f"{row.factor:.4f}")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
