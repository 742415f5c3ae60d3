"""Writes the cache to files that other programs read: Maildir, mbox, .eml, .ics, .vcf."""
