"""Highlights: which sentences of a long text make its bullet summary."""
