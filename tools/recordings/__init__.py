"""Recorded answers of exchanges, read with the project's own parsers."""
