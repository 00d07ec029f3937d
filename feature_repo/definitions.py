"""What `feast apply` finds: the objects of every task over this machine's feature files.

Feast changes into this folder before it imports it, so the default home is the checkout's, not the current directory's.
"""

import os
from pathlib import Path

from feature_repo.tasks import declared

_HOME = Path(os.environ.get("SLUICE_HOME") or Path(__file__).resolve().parent.parent / ".sluice").resolve()

globals().update(declared(_HOME / "features"))
