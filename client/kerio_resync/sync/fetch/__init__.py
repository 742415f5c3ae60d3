"""Workers that fetch folders, items and attachments."""
