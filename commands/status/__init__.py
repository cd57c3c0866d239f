"""`status`: what the guard sees and has done."""
