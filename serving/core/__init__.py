"""The server around any model; nothing here knows a task."""
