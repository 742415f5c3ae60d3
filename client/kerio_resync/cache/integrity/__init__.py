"""Checks of a cache file."""
