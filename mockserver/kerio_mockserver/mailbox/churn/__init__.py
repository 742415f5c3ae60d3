"""Changes of the mailbox while it is read."""
