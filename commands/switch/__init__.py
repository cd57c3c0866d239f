"""`switch`: what the operator wants of bots and guard, shown and set."""
