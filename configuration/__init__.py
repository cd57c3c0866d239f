"""How config.yaml and the environment are read and checked; `settings.py` puts it together."""
