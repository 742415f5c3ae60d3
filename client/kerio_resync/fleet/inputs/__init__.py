"""What `fleet plan` reads: an inventory of users, the settings of a plan, and time windows."""
