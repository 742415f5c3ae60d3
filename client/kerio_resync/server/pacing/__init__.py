"""Limits on requests in flight, and retries."""
