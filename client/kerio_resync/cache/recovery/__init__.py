"""Reuse of an older cache, and rescue of its unsent changes."""
