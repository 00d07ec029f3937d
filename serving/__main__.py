"""``python -m serving``: serve one bundle; what is wrong with a flag or a bundle is one sentence and exit code 2."""

import logging
import os
import sys
from collections.abc import Sequence

from serving.contract.errors import SluiceError

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the server that the command line describes. Out: exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        from serving.core.options import Options

        options = Options.parse(arguments)
        # Every library asks once, when it is loaded; each would take all cores otherwise and fight the others.
        os.environ.update(dict.fromkeys(_POOLS, str(options.threads)), TOKENIZERS_PARALLELISM="false")
        from serving.contract.bundle import Bundle

        Bundle.read(options.model_dir)  # a wrong directory is told before seconds of imports
        from serving.core.server import run

        return run(options)
    except SluiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
