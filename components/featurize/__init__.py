"""Features of a task's entities, as they were when each example was made and as they are now."""
