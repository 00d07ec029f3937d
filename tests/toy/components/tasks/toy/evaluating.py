from components.common.page import Page
from components.evaluate.evaluated import Evaluated, EvaluateSettings
from components.tasks.toy.data import read
from serving.contract.load import load

Settings = EvaluateSettings


def evaluate(bundle, corpus, examples, settings):
    table, predictor = read(corpus, examples, "test"), load(bundle)
    found = [answer["side"] for answer in predictor.predict(table[["x", "y"]].to_dict("records"))]
    right = (table["side"] == found).astype(float)
    rows = table[["id"]].assign(right=right, half=["west" if x < 0 else "east" for x in table["x"]])
    return Evaluated(
        rows, {"accuracy_test": right.mean()}, Page("Evaluation", "Points on a side."), {"points": len(rows)}
    )


def asked(corpus, examples):
    return [
        {
            "id": row.id,
            "persona": "",
            "instance": {"x": row.x, "y": row.y},
            "expect": {"side": bool(row.side)},
            "units": 1.0,
        }
        for row in read(corpus, examples, "test").itertuples()
    ]
