"""The local cache file: its format, its one writer, and the reuse of old ones.

This package knows nothing of servers.
"""
