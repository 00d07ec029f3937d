"""Step 2: passages become questions with answers, where they come from, and why they never leak into another split."""
