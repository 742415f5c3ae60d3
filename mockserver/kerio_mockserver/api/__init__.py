"""The documented API, one module per service."""
