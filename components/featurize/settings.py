"""Settings of the step featurize that every task shares."""

from pydantic import Field

from components.common.step import Settings


class FeaturizeSettings(Settings):
    """``task``: the kind of model whose entities they are; ``online_chunk``: entities a read of the online store."""

    task: str
    online_chunk: int = Field(default=2000, ge=1, le=30_000)
