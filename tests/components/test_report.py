import re

import pytest
from kfp.dsl import HTML

from components.common.page import Page, cell, new_figure, page_data, svg
from components.report.build import report_files
from components.report.component import report
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict, read_verdicts

WHO = ("challenger", "champion", "base model")


def step_pages(place, quality=True, canary=None):
    """Pages as the steps leave them, with the numbers that the report reads."""
    variants = {"int8": {"file": "encoder/int8.onnx", "bytes": 22_900_000}, "fp32": {"file": "x", "bytes": 90_400_000}}
    bundle = {"system": "codebase", "base_model": "minilm", "adapter": {"rank": 16}, "variant": "int8"}
    levels = [
        {"set": "Test set", "who": w, "metric": "WER, %", "n": 100, "mean": 9.5, "low": 8.1, "high": 11.2} for w in WHO
    ]
    tiles = [["Word error rate", "9.5 %", "before 14.0 %"]]
    made = {
        name: Page(name.capitalize()).text(f"All about {name}.")
        for name in ("data", "study", "training", "quantisation")
    }
    made["evaluation"] = (
        Page("Evaluation")
        .data("bundle", {**bundle, "variants": variants})
        .data("counts", {"passages": 5000})
        .data("showcase", [["What it hears", "<svg>spectrogram</svg>"]])
    )
    shown = {"levels": levels, "pictures": [["<svg></svg>", "Levels."]], "tiles": tiles, "unit": "utterances"}
    gate = Page("Compare").data("headline", shown)
    made["gate"] = gate.verdicts([Verdict("data", True, "clean"), Verdict("quality", quality, "it is so", {"n": 100})])
    if canary is not None:
        made["rollout"] = Page("Rollout").verdicts([Verdict("canary", canary, "p95 <900 ms>")])
    for name, page in made.items():
        page.write(place / f"{name}.html")
    return {name: place / f"{name}.html" for name in made}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("quality", "canary", "words"),
    [(True, True, "Promoted"), (True, False, "Rolled back"), (False, None, "Not promoted")],
)
def test_the_report_says_what_became_of_the_challenger(home, tmp_path, quality, canary, words):
    pages = step_pages(tmp_path, quality, canary)
    assert report_files(pages, tmp_path / "page.html") == "codebase"
    html = (tmp_path / "page.html").read_text()
    assert re.search(rf'class="badge \w+">[✓✕] {words}<', html)
    assert html.count("<iframe") == len(pages)
    assert "before 14.0 %" in html and "9.500 (8.100–11.200)" in html and "22.9 MB" in html
    assert "What it hears" in html and "<svg>spectrogram</svg>" in html
    assert (home / "reports" / "codebase.html").read_text() == html
    gates = [v.gate for v in read_verdicts(home / "reports" / "codebase.verdicts.json")]
    assert gates == ["data", "quality", "canary"][: 3 if canary is not None else 2]


def test_the_step_works_with_and_without_a_rollout(home, tmp_path):
    pages = {name: HTML(uri=str(path)) for name, path in step_pages(tmp_path).items()}
    report.python_func(page=HTML(uri=str(tmp_path / "page.html")), **pages)
    assert "Step by step" in (tmp_path / "page.html").read_text()
    untrained = {name: page for name, page in pages.items() if name not in ("study", "training")}
    report.python_func(page=HTML(uri=str(tmp_path / "page.html")), **untrained)
    assert "hyperparameters" not in (tmp_path / "page.html").read_text()


def test_a_step_that_left_no_page_is_named(home, tmp_path):
    pages = step_pages(tmp_path)
    pages["study"].unlink()
    with pytest.raises(SluiceError, match="step 'study' is missing"):
        report_files(pages, tmp_path / "page.html")


def test_a_page_needs_nothing_from_outside_and_escapes_what_it_shows():
    page = Page("<b>Title</b>").text("a < b").table([{"code": "<script>alert(1)</script>", "n": 12345, "x": None}])
    html = page.details("Inner", Page("Inner").text("x").html()).html()
    assert "<b>Title" not in html and "<script>alert" not in html
    assert "12,345" in html and "a &lt; b" in html
    assert not re.search(r'(src|href)="http|@import|<link', html)


def test_verdicts_and_data_can_be_read_back():
    data = page_data(Page("P").verdicts([Verdict("load", False, "</script> slow", {"p95": 1.5})]).data("x", [1]).html())
    assert data["verdicts"][0] == {"gate": "load", "passed": False, "reason": "</script> slow", "figures": {"p95": 1.5}}
    assert data["x"] == [1]
    twice = Page("P").verdicts([Verdict("load", True, "one")]).verdicts([Verdict("load", True, "two")])
    assert [v["reason"] for v in page_data(twice.html())["verdicts"]] == ["one", "two"]


def test_a_figure_is_the_same_bytes_every_time_and_follows_light_and_dark():
    def draw() -> str:
        figure = new_figure(4, 2)
        figure.subplots().plot([1, 2], [3, 4], label="line")
        return svg(figure, "A line")

    picture = draw()
    assert picture == draw()
    assert "var(--muted)" in picture and 'aria-label="A line"' in picture


def test_cells_read_well():
    assert [cell(v) for v in (None, True, 3, 12345, 0.12345, 12.3456, "a<b", [1, 2.5])] == [
        "–", "yes", "3", "12,345", "0.123", "12.35", "a&lt;b", "1, 2.5",
    ]  # fmt: skip
