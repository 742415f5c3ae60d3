"""What `fleet plan` reads.

An inventory of users, the settings of a plan, and time windows.
"""
