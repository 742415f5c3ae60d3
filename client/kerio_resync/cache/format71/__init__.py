"""The cache file's format 7.1, which today's can be made from: what it means, how it is read, how one is written.

Promises that every documented member of every item, the members that nobody documented, the contents of attachments,
the sync key and the pending changes come back exactly as they were put in. It is not the vendor's file: that one is not
documented, so this is one of its time and of its habits. `schema` has the tables, `members` how a struct becomes
columns, `reading` and `writing` the two directions.

There are no checksums in it. What a reader can notice is what doesn't fit: a page that is no page, a row that is
missing or has another length than it says, text that is no text. A letter that became another letter is not among that.
"""
