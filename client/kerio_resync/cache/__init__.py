"""The local cache file: its format, its one writer, and what is done with old ones. Knows nothing of servers."""
