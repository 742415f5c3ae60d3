"""The engine: brings a cache to the state of a mailbox.

It uses the operations of `server` and `cache`.
"""
