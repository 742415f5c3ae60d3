"""Verification of a cache against the server."""
