"""What people need when something is wrong."""
