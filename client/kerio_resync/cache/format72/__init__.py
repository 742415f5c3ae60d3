"""The database format 7.2: tables, checksums, reader, and rescue of local state.

A migration turns it into the current format. It differs from that in few things: an item is in one folder, its version
is a number (`watermark`), there are no columns for its text, and contents are never compressed. All of its files are
caches of a Kerio server.

A file has `PRAGMA user_version` 70200 and the `application_id` of this program. Early files lack two columns of the
outbox (`outbox_rows`).
"""
