"""``make bench``: our endpoint beside its peer, in one run, with ratios printed and drawn."""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from load_tests.bench.inputs import find_bundle, find_model, make_questions
from load_tests.bench.judge import BenchTarget, judge, ratio
from load_tests.bench.measure import CLIENTS, OURS, PEER, ROUTES, BenchMeasured, BenchPlan, measure
from load_tests.bench.page import aim, shown, word, write_page
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file, home

console = Console()


def main() -> int:
    """Run the bench. Out: 0; 1 if a promise does not hold and --strict is given; 2 for a missing part."""
    flags = _flags()
    try:
        place = find_bundle(flags.bundle)
        bundle = Bundle.read(place)
        model = find_model(flags.model_dir, bundle)
        plan = BenchPlan(place, model, make_questions(place, flags.questions), flags.threads, flags.seconds)
        console.print(f"bundle {place}\nmodel  {model}", highlight=False)
        with console.status("measuring") as status:

            def say(text: str) -> None:
                status.update(text)
                console.print(f"  {text}", style="dim", highlight=False)

            measured = measure(plan, say)
            steps = _step_seconds()
    except SluiceError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    targets = judge(measured, {name: variant.model_dump() for name, variant in bundle.variants.items()}, steps)
    out: Path = flags.out or home() / "reports" / "bench.html"
    write_page(measured, targets, out)
    with atomic_file(out.with_suffix(".json")) as scratch:
        figures = {"targets": [asdict(target) for target in targets], "measured": asdict(measured)}
        scratch.write_text(json.dumps(figures, indent=1))
    _show(measured, targets)
    console.print(f"\n{out}", highlight=False)
    return int(flags.strict and any(target.met is False for target in targets))


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m load_tests.bench", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="bundle directory (default: the newest of this home)")
    parser.add_argument("--model-dir", type=Path, help="fp32 model of the same weights (default: found in this home)")
    parser.add_argument("--questions", type=Path, help="file of questions (default: our own)")
    parser.add_argument("--threads", type=int, default=1, help="threads, and cores, of each server (default 1)")
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of each measurement (default 6)")
    parser.add_argument("--out", type=Path, help="HTML report (default: reports/bench.html in this home)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a promise does not hold")
    return parser.parse_args()


def _step_seconds() -> float:
    """Seconds of an empty pipeline step; 0 if it cannot be measured here, which no other figure depends on."""
    done = subprocess.run([sys.executable, "-m", "load_tests.bench.steps"], capture_output=True, text=True, timeout=180)
    return float(done.stdout) if done.returncode == 0 and done.stdout.strip() else 0.0


def _show(measured: BenchMeasured, targets: list[BenchTarget]) -> None:
    table = Table("work", "clients", "peer /s", "ours /s", "ratio", "peer p50", "ours p50", "peer p99", "ours p99 ms")
    for work in ROUTES:
        for clients in CLIENTS:
            ours, peer = measured.row(OURS, work, clients), measured.row(PEER, work, clients)
            figures = [peer.per_second, ours.per_second, peer.p50_ms, ours.p50_ms, peer.p99_ms, ours.p99_ms]
            cells = [f"{figure:.1f}" for figure in figures]
            table.add_row(work, str(clients), *cells[:2], f"{ratio(measured, work, clients):.1f}x", *cells[2:])
    console.print(table)
    promises = Table("", "measured", "promised", "")
    for target in targets:
        colour = {True: "green", False: "red", None: "default"}[target.met]
        promises.add_row(target.name, shown(target), aim(target), f"[{colour}]{word(target)}[/]")
    console.print(promises)


if __name__ == "__main__":
    sys.exit(main())
