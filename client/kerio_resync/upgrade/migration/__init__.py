"""Migration from older formats."""
