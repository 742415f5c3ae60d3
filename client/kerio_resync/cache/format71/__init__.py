"""The database format 7.1: tables, columns, reader, and rescue of unsent changes.

A migration turns it into the current format.

The vendor's format is undocumented. This is a stand-in, modelled on databases of that age. The reader gives back every
documented member of every item, the undocumented members, the contents of attachments, the sync key and the pending
changes exactly as they were stored. There are no checksums in the file, so a reader notices what does not fit (an
invalid page, a missing row, a wrong length, an invalid text), but not a letter that became another letter.
"""
