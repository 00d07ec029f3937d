"""What merging must not change in a highlighter: its encoder's embeddings; its head comes with the adapter."""

from components.common.encoder import outputs, subject

__all__ = ["FILES", "outputs", "subject"]
FILES = ("head.json",)
