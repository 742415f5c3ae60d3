"""A mock of a groupware server's client API, with generated or imported mailboxes."""
