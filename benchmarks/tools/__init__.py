"""What measurements use: processes and the machine, bare loops, links of packets, a cluster."""
