"""Feedback finds its model: what was answered is kept, votes become counts in the feature store and training rows.

Corrections of recordings are proposals until a person accepts them by name (see `serving.feedback.reviews`).
"""

from serving.feedback.rows import corrections, daily_counts, feedback_count, labelled, votes_by_revision
from serving.feedback.store import FeedbackStore
from serving.feedback.tables import feedback_url

__all__ = [
    "FeedbackStore", "corrections", "daily_counts", "feedback_count", "feedback_url", "labelled", "votes_by_revision",
]  # fmt: skip
