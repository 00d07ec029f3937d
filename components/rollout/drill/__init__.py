"""Drills: canaries that are broken on purpose, on a real control plane with real servers, while users keep asking."""
