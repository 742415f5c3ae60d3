"""`fleet report`: what the logs of many machines say, as one page, one JSON file and one table."""
