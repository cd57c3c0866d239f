"""Measurements of the guard: what a tick costs, how fast it starts."""
