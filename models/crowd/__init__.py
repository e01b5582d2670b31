"""The crowd: what the answers of several people say together, and how far to trust each."""
