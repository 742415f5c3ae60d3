"""The API of Kerio Connect."""
