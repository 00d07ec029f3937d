"""Which variant is served: decided from figures alone."""

from collections.abc import Mapping

from components.quantize.settings import QuantizeSettings
from serving.verdict import Verdict

Figures = Mapping[str, Mapping[str, float]]
REFERENCE = "fp32"


def choose(figures: Figures, settings: QuantizeSettings) -> str:
    """The fastest variant (median latency of one question) that keeps quality; fp32 when no other does."""
    good = [
        name
        for name, row in figures.items()
        if name == REFERENCE or (row["retained"] >= settings.min_retained and row["smaller"] >= settings.min_smaller)
    ]
    return min(good, key=lambda name: figures[name]["p50_ms_batch1"])


def judge(figures: Figures, settings: QuantizeSettings) -> Verdict:
    """Verdict of gate "quantisation".

    Passes when the fp32 graph repeats torch (``max_abs_difference``) and some INT8 variant is at least
    ``min_smaller`` smaller and keeps ``min_retained`` of recall@10. ``figures``: per variant bytes, smaller (share of
    fp32's bytes saved), retained (share of fp32's recall@10), p50_ms_batch1, texts_per_s, max_abs_difference.
    """
    chosen = choose(figures, settings)
    flat = {f"{name}_{key}": value for name, row in figures.items() for key, value in row.items()}
    difference = figures[REFERENCE]["max_abs_difference"]
    if not difference <= settings.max_difference:
        reason = f"the exported graph differs from torch by {difference:.1e}, {settings.max_difference:.0e} is allowed"
        return Verdict("quantisation", False, reason, {"chosen": REFERENCE, **flat})
    others = {name: row for name, row in figures.items() if name != REFERENCE}
    kept = {
        name: row
        for name, row in others.items()
        if row["retained"] >= settings.min_retained and row["smaller"] >= settings.min_smaller
    }
    if not kept:
        worst = "; ".join(f"{n} keeps {r['retained']:.1%}, is {r['smaller']:.1%} smaller" for n, r in others.items())
        wanted = f"{settings.min_retained:.0%} of recall@10 and {settings.min_smaller:.0%} smaller are asked"
        return Verdict("quantisation", False, f"no INT8 variant holds: {worst}; {wanted}", {"chosen": chosen, **flat})
    name, row = min(kept.items(), key=lambda item: item[1]["p50_ms_batch1"])
    faster = figures[REFERENCE]["p50_ms_batch1"] / row["p50_ms_batch1"]
    reason = (
        f"{name} is {row['smaller']:.1%} smaller, {faster:.1f}x as fast on one question and keeps "
        f"{row['retained']:.1%} of recall@10; {chosen} is served"
    )
    return Verdict("quantisation", True, reason, {"chosen": chosen, **flat})
