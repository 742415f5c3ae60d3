"""What the mock server does to those who use it: the link, the load, the faults, and what changes meanwhile."""
