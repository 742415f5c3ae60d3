"""Sending of local changes."""
