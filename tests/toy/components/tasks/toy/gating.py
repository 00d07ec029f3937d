from components.common.levels import SERVED, Entry, Metric, Panel
from components.gate import rules
from components.gate.settings import GateSettings

RIGHT = Metric("accuracy_test", "accuracy", "the test set", "right")
GATE = rules.QualityGate(
    settings=GateSettings,
    example="id",
    columns=("id", "right", "half"),
    outputs=("right",),
    captions=rules.Captions("Share of points on the right side."),
    rules=lambda s: [rules.gain(RIGHT, s), rules.beaten(RIGHT, "the untrained model", Entry("base"), s)],
    slices=lambda s: [(RIGHT, "half")],
    panels=[Panel("Test set", {"challenger": SERVED}, {"accuracy": RIGHT})],
    tiles=lambda found, s: found.tile("Accuracy", "Test set", "accuracy", {}),
)
