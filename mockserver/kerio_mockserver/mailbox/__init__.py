"""What the server keeps: folders, items, attachments, and the journal of what happened to them.

`model.Store` is the whole of it for one logged-in user. `seed.seeded` makes one out of a number, `importer.load` fills
one from files. Nothing here knows of HTTP, sessions or JSON-RPC.
"""
