"""The mailbox: folders, items, attachments, and the journal of their changes.

`store.MailboxStore` is the whole of it for one user. `generate.seed.generate_mailbox` makes one from a seed,
`imports.importer.load` fills one from files. Nothing here knows of HTTP, sessions or JSON-RPC.
"""
