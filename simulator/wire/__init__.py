"""The exchange over HTTP: dialects that know a venue's words, and the servers that carry them."""
