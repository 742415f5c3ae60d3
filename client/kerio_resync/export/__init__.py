"""Writes the cache to files that other programs read.

These are Maildir, mbox, .eml, .ics and .vcf files.
"""
