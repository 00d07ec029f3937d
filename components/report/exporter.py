"""``python -m components.report.exporter``: what the registry and the pipelines know, for Prometheus.

Reads every now and then and answers scrapes from what was read last, so that a slow registry delays no scrape.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from components.report.sources import Source, sources


class Exporter(Collector):
    """The families that each of ``sources`` gave when it last answered, and whether it still does."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._families: dict[str, list[Metric]] = {}
        self._answers: dict[str, bool] = {}

    def read(self) -> None:
        """Ask every source once. One that fails keeps its last figures and is told of on stderr."""
        for name, source in self._sources.items():
            try:
                self._families[name] = source()
                self._answers[name] = True
            except Exception as error:  # whatever a registry or an API server may raise: the others go on
                self._answers[name] = False
                line = {"event": "source not read", "source": name, "error": f"{type(error).__name__}: {error}"[:500]}
                print(json.dumps(line), file=sys.stderr, flush=True)

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        up = GaugeMetricFamily("sluice_exporter_source_up", "1: the source answered when last asked", labels=["source"])
        for name, answers in self._answers.items():
            up.add_metric([name], answers)
        yield up
        for families in list(self._families.values()):
            yield from families


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, read, listen, and read again until killed."""
    parser = argparse.ArgumentParser("python -m components.report.exporter", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default %(default)s)")
    parser.add_argument("--every", type=float, default=60, help="seconds between readings (default %(default)s)")
    options = parser.parse_args(arguments)
    # The client's own defaults try for minutes: a source that is away would keep the others from being read.
    for name, value in {"MAX_RETRIES": "1", "TIMEOUT": "10"}.items():
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    exporter = Exporter(sources())
    exporter.read()
    registry = CollectorRegistry()
    registry.register(exporter)
    start_http_server(options.port, options.host, registry)
    while True:
        time.sleep(options.every)
        exporter.read()


if __name__ == "__main__":
    main()
