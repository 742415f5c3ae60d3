"""Reports what the logs of many machines say: a page, JSON and a table."""
