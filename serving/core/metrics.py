"""Prometheus figures of one revision, served at /metrics beside KServe's own histograms."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

# Every system's p95 objective (load_tests/slo) is a bound, so that the share of slow requests is counted exactly.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0)
SHARES = tuple(tenth / 10 for tenth in range(1, 10))
CHARACTERS = tuple(2**power for power in range(3, 19))
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Writer(Protocol):
    """Something with threads that write: `serving.core.request_log.RequestLog`, `serving.feedback.FeedbackStore`."""

    @property
    def alive(self) -> bool:
        """Whether all of its threads run."""


class Log(Writer, Protocol):
    """What the figures of the log are read from."""

    lost: int


class Store(Writer, Protocol):
    """What the figures of feedback are read from."""

    @property
    def failures(self) -> dict[str, int]:
        """Counts by what went wrong."""


class Refreshed(Protocol):
    """What the age of features is read from: `serving.core.features.OnlineFeatures`."""

    refreshed_at: float | None


class ServerMetrics:
    """Counters, gauges and histograms, each labelled with the revision; a `serving.core.batching.Watcher`."""

    def __init__(self, revision: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # they double the page, and nothing reads them
        self.registry = CollectorRegistry()
        self.revision = revision
        self._made: dict[str, Any] = {}
        self._requests = self.make(Counter, "sluice_requests", "Requests by HTTP code", "code", "route")
        self._latency = self.make(Histogram, "sluice_request_seconds", "Seconds to answer", "route", buckets=SECONDS)
        self.in_flight: Gauge = self.make(Gauge, "sluice_in_flight", "Requests being answered")
        self._queue = self.make(Gauge, "sluice_queue_depth", "Inputs waiting for the model")
        self._sizes = self.make(Histogram, "sluice_batch_size", "Inputs in one call of the model", buckets=SIZES)
        self._model = self.make(Histogram, "sluice_model_seconds", "Seconds of one call of the model", buckets=SECONDS)
        text = "Votes, one an answer and voter, by the revision that had answered"
        self._votes = self.make(Counter, "sluice_votes", text, "vote")
        text = "Votes that took another's place, by what they are now"
        self._changes = self.make(Counter, "sluice_vote_changes", text, "vote")
        for vote in ("up", "down"):  # Prometheus counts on from the first value it sees: that must be a zero
            self._votes.labels(vote, revision)
            self._changes.labels(vote, revision)
        text = "Confidence of answers, or of their segments"
        self._confidence = self.make(Histogram, "sluice_confidence", text, buckets=SHARES)
        text = "Characters of text in one input"
        self._asked = self.make(Histogram, "sluice_input_characters", text, buckets=CHARACTERS)
        self.queue_limit: Gauge = self.make(Gauge, "sluice_queue_limit", "Inputs that may wait; beyond, 429")
        self._by_route: dict[str, Histogram] = {}
        self._by_code: dict[tuple[int, str], Counter] = {}

    def make(self, kind: type, name: str, text: str, *labels: str, **options: Any) -> Any:
        """A figure of this revision, which a task may make too: ready to count, or with ``labels`` the whole family,
        whose last label is the revision. One name is one figure, however often it is made.
        """
        if name not in self._made:
            self._made[name] = kind(name, text, [*labels, "revision"], registry=self.registry, **options)
        return self._made[name] if labels else self._made[name].labels(self.revision)

    def answered(self, code: int, route: str, seconds: float) -> None:
        """One request on ``route`` ended with HTTP ``code`` after ``seconds``."""
        # Label look-ups cost more than the counting: keep the children.
        counter = self._by_code.get((code, route))
        if counter is None:
            counter = self._by_code[code, route] = self._requests.labels(code, route, self.revision)
        histogram = self._by_route.get(route)
        if histogram is None:
            histogram = self._by_route[route] = self._latency.labels(route, self.revision)
        counter.inc()
        histogram.observe(seconds)

    def refused(self, code: int) -> None:
        """A request was refused with ``code`` for something that its client did: no objective is about those."""
        self._requests.labels(code, "client", self.revision).inc()

    def queued(self, waiting: int) -> None:
        """See `serving.core.batching.Watcher`."""
        self._queue.set(waiting)

    def batch(self, size: int, seconds: float) -> None:
        """See `serving.core.batching.Watcher`."""
        self._sizes.observe(size)
        self._model.observe(seconds)

    def voted(self, vote: str, revision: str, counted: str) -> None:
        """A user's ``vote`` (up, down) on an answer of ``revision``.

        ``counted`` is "new" for their first on this answer, "changed" for another word on it; all else counts nowhere.
        """
        if counted in ("new", "changed"):
            (self._votes if counted == "new" else self._changes).labels(vote, revision).inc()

    def answer(self, asked: Any, confidences: Iterable[float | None]) -> None:
        """One input and its answer, for drift: characters of text asked, confidence of the answer or its parts."""
        if size := characters(asked):
            self._asked.observe(size)
        for confidence in confidences:
            if confidence is not None:
                self._confidence.observe(confidence)

    def watch(self, store: Store | None = None, features: Refreshed | None = None, log: Log | None = None) -> None:
        """Show, whenever the page is read, what ``store`` and ``log`` lost, and when ``features`` were refreshed."""
        self.registry.register(_Watched(self.revision, store, features, log))

    def page(self) -> bytes:
        """The text exposition: ours, then the process's and KServe's."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)


class _Watched(Collector):
    """Figures that others keep, read when the page is."""

    def __init__(self, revision: str, store: Store | None, features: Refreshed | None, log: Log | None) -> None:
        self._revision, self._store, self._features, self._log = revision, store, features, log

    def collect(self) -> Iterator[Metric]:
        writers = {"feedback": self._store, "log": self._log}
        if held := {name: writer for name, writer in writers.items() if writer is not None}:
            up = GaugeMetricFamily(
                "sluice_writer_up", "1: what is answered is noted there", labels=["writer", "revision"]
            )
            for name, writer in held.items():
                up.add_metric([name, self._revision], writer.alive)
            yield up
        if self._log is not None:
            lost = CounterMetricFamily(
                "sluice_log_lines_lost", "Lines of the log that were not written", labels=["revision"]
            )
            lost.add_metric([self._revision], self._log.lost)
            yield lost
        if self._store is not None:
            text = ("Trouble with feedback: rows dropped, rows set aside as unwritable, batches not written at first, "
                    "totals not pushed at first")  # fmt: skip
            family = CounterMetricFamily("sluice_feedback_failures", text, labels=["what", "revision"])
            for what, count in self._store.failures.items():
                family.add_metric([what, self._revision], count)
            yield family
        if self._features is not None:
            text = "When features were last read from the online store; 0: never, the bundle's snapshot serves"
            gauge = GaugeMetricFamily("sluice_features_refreshed_timestamp_seconds", text, labels=["revision"])
            gauge.add_metric([self._revision], self._features.refreshed_at or 0)
            yield gauge


def characters(value: Any) -> int:
    """Characters of all text in ``value``, in lists and tuples too; what is no text counts nothing."""
    if isinstance(value, str):
        return len(value)
    return sum(map(characters, value)) if isinstance(value, (list, tuple)) else 0
