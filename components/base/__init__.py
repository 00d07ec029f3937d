"""The encoder every run starts from: fetched once, written as one plain directory, loaded by the same code everywhere."""
