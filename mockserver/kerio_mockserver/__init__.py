"""A server that a mailbox client can't tell from a real one, with a mailbox from a seed or from real mail.

For tests and measurements: `kerio_mockserver.testing.running` starts one inside a program, `kerio-mockserver serve`
on a machine. It knows no client.
"""
