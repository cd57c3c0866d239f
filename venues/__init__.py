"""The exchanges: one protocol and its adapters, one file each. The only importers of ccxt."""
