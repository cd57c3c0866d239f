"""A seeded simulation of the whole guard: one number draws a story, and every step is judged."""
