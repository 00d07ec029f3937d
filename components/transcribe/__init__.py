"""Lectures through the transcriber that passed the gates, or else through the one that stands."""
