"""Data of the task highlights: our own texts, meetings, lectures; reference bullets, ROUGE and its oracle."""
