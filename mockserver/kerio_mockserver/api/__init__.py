"""The documented API, method by method: what a mailbox client calls, answered from a `Store`."""
