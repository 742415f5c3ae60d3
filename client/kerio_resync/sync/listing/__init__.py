"""Listing of folders in pages."""
