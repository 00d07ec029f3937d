"""Where the feature store of this machine is configured and kept."""

import os
from pathlib import Path

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file, home

REPO = Path(__file__).resolve().parent


def features_dir() -> Path:
    """Folder of the feature files, the registry and the laptop's online store: ``$SLUICE_HOME/features``."""
    return home() / "features"


def config_file() -> Path:
    """The feature store's YAML: ``FEAST_FS_YAML_FILE_PATH``, or the laptop's file with this home's absolute paths.

    The resolved copy is (re)written to ``$SLUICE_HOME/features/feature_store.yaml`` when it differs, so that
    ``feast -f`` answers from any directory. Errors: `SluiceError` when the named file does not exist.
    """
    if named := os.environ.get("FEAST_FS_YAML_FILE_PATH"):
        if not Path(named).is_file():
            raise SluiceError(f"FEAST_FS_YAML_FILE_PATH={named}: no such file; name a feature_store.yaml or unset it")
        return Path(named).resolve()
    target = features_dir() / "feature_store.yaml"
    text = (REPO / "feature_store.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    resolved = "\n".join(lines).replace("../.sluice", str(home())) + "\n"
    if not target.is_file() or target.read_text() != resolved:
        with atomic_file(target) as scratch:
            scratch.write_text(resolved)
    return target
