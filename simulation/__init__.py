"""The client and the mock server in one process, in virtual time.

Shared by tests and benchmarks.

`virtual_time` runs an event loop whose clock jumps, `direct_transport` calls the server as a function,
`link_transport` does the same over a modelled link, `mailboxes` provides generated mailboxes, `opaque_versions` takes
the order from their versions, and `world` keeps a mailbox and a profile over several runs of the client.
"""
