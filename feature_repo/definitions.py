"""What `feast apply` finds: the objects over this machine's feature files.

Feast changes into this folder before it imports it, so the default home is the checkout's, not the current directory's.
"""

import os
from pathlib import Path

from feature_repo.views import objects

_HOME = Path(os.environ.get("SLUICE_HOME") or Path(__file__).resolve().parent.parent / ".sluice").resolve()

(
    passage,
    passage_source,
    feedback_source,
    feedback_push,
    passage_features,
    feedback_features,
    retrieval_v1,
) = objects(_HOME / "features")
