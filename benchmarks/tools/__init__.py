"""What measurements use.

Processes and the machine, bare loops, links of packets, a cluster.
"""
