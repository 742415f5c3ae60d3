"""Shows the cache in a browser, with datasette and a plugin for mails."""
