"""Plans the rebuild of many machines, measures a server's capacity, and reports how a rollout goes.

The optional packages of the extra `fleet` are imported by the functions that need them.
"""
