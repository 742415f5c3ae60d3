"""Rebuilds a cache from a mailbox: the only package that knows both `server/` and `cache/`, by their verbs alone."""
