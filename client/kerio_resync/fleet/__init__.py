"""Plans, measures and reports the rebuild of many machines.

The optional packages of the extra `fleet` are imported by the functions that need them.
"""
