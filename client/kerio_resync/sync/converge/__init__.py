"""Catching up with changes, and the comparison of lists."""
