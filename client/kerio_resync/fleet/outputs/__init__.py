"""What a plan is written as: a page, tables, calendars and notices.

`write_outputs` writes them all into one folder.
"""
