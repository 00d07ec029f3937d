"""codebase: cited answers about a source tree."""
