"""The model every run starts from: fetched once, one plain directory, loaded by the same code everywhere."""
