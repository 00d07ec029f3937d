from load_tests.slo import SLO, LoadSettings, LoadTest
from pipelines.systems import Endpoint, Source, System

PROMISE = LoadTest(slo=SLO(requests_per_s=5, p95_ms=500), load=LoadSettings(users=4, rate=50, seconds=4, timeout_s=5))
SYSTEM = System(
    source=Source("none", lambda source, full, base_model: {"base_model": base_model}, lambda arguments: "made points"),
    base_model="nothing",
    endpoints=(Endpoint("toys", "toy", "On which side of a line a point lies.", PROMISE),),
)
