"""Talks to a server.

`mailbox.Mailbox` is the interface, `kerio.KerioMailbox` the implementation for Kerio Connect.
"""
