"""``python -m components.ingest --source DIR --bench``: ingest without a pipeline, and how fast it was."""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from components.ingest.run import ingest
from components.ingest.settings import IngestSettings


def main() -> None:
    """Parse the command line, ingest, print figures."""
    parser = argparse.ArgumentParser(description="Read a source tree into passages.")
    parser.add_argument("--source", default="", help="directory; default: the installed transformers package")
    parser.add_argument("--part", default="all", choices=["core", "all"])
    parser.add_argument("--out", default="", help="parquet file to write; default: a temporary one")
    parser.add_argument("--bench", action="store_true", help="print seconds and MB/s")
    options = parser.parse_args()
    import pandas  # noqa: F401  # its import is no part of the work that is timed

    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        done = ingest(options.source, options.part, IngestSettings(), options.out or Path(scratch) / "passages.parquet")
        seconds = time.perf_counter() - began
    print(f"{done.count} passages, digest {done.digest}, {len(done.skipped)} files skipped")
    if options.bench:
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(u.ru_utime + u.ru_stime for u in usage)
        megabytes = done.bytes_read / 1e6
        print(
            f"{megabytes:.1f} MB of source in {seconds:.2f} s: {megabytes / seconds:.1f} MB/s ({cpu:.1f} CPU seconds)"
        )


if __name__ == "__main__":
    main()
