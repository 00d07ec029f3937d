"""What merging must not change in a retriever: its embeddings."""

from components.common.encoder import outputs, subject

__all__ = ["FILES", "outputs", "subject"]
FILES: tuple[str, ...] = ()
