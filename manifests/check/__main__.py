"""`python -m manifests.check [OVERLAY ...]`: builds and checks the overlays, writes what the rollout reads."""

import argparse
import sys
from pathlib import Path

from manifests.check.combinations import check_all, check_overlay
from manifests.check.render import render
from serving.contract.errors import SluiceError


def main(arguments: list[str] | None = None) -> int:
    """Check the named overlays, or all and every combination of components; the exit status, 1 on any problem."""
    parser = argparse.ArgumentParser(prog="python -m manifests.check", description=__doc__)
    parser.add_argument("overlay", nargs="*", help="a folder of manifests/overlays; left out: all")
    parser.add_argument(
        "--render", type=Path, metavar="DIR", help="write DIR/<system>/*.yaml with the overlay's values"
    )
    asked = parser.parse_args(arguments)
    try:
        if asked.render and len(asked.overlay) != 1:
            raise SluiceError("--render writes one overlay: name it, as in `… manifests.check staging --render DIR`")
        counts = [check_overlay(name) for name in asked.overlay] if asked.overlay else [check_all()]
        if asked.render:
            render(asked.overlay[0], asked.render)
    except SluiceError as error:
        print(f"manifests: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(count) for count in counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
