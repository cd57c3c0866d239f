"""The tests: tables, properties, wire tests and whole stories."""
