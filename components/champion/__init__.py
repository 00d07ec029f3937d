"""Champion: what serves at 100 % now."""
