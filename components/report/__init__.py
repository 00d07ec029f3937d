"""Report: every step's page in one, and the page class that all of them are written with."""
