"""The engine: brings a cache to the state of a mailbox, by the verbs of `server` and `cache`."""
