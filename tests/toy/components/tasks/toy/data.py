import pandas as pd

from components.validate.gate import Checked, Count, ValidateSettings, judge

Settings = ValidateSettings

CORPUS, EXAMPLES, MAKERS = ("id", "x", "y", "split"), ("id", "side", "split"), ("points", "points")


def check(corpus, examples, settings):
    counts = {"points": Count(len(corpus), len(corpus), 100)}
    held_back = pd.DataFrame(columns=["table", "row_number", "row_id", "reasons", "excerpt"])
    return Checked(corpus, examples, held_back, {}, judge(counts, {}, settings))


def picture(page, checked):
    page.text(f"{len(checked.corpus)} points")


def read(corpus, examples, split):
    table = pd.read_parquet(corpus).merge(pd.read_parquet(examples)[["id", "side"]], on="id")
    return table[table["split"] == split]
