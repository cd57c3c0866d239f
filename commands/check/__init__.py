"""`check`: could the guard close everything now, and what would hinder it."""
