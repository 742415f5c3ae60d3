"""Talks to a server: `mailbox.Mailbox` is the seam, `kerio.KerioMailbox` the implementation for Kerio Connect."""
