"""Recordings in: any audio or video, probed, measured, cut at pauses; a bad file is quarantined and named."""
