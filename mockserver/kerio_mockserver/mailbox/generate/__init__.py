"""Generation of a mailbox from a seed."""
