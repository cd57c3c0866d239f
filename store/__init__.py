"""What SQLite keeps and how: tables, codecs, histories, views. `position_store.py` uses it."""
