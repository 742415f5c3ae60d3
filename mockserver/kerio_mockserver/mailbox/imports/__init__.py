"""Import of mail, calendars and contacts from files."""
