"""A whole exchange on this machine, for tests, demonstrations, replay and benchmarks.

It knows nothing of the guard: it holds accounts, matches orders against a price that others set,
keeps margin, liquidates, and writes an append-only ledger which is the judge of every test. Its
rules:

- Synchronous and deterministic. Time is passed in; nothing here reads a clock or rolls dice that
  were not handed over.
- Money and quantities are `Decimal`, end to end.
- The core speaks venue-neutral reasons (`reasons.py`). Only `wire/` knows an exchange's codes,
  paths and field names, so that a second dialect is a file and not a rewrite.
- Faults are part of the product: they are planned (`faults.py`) apart from the transport that
  carries them out, so that they can be used with and without HTTP.

How it is split: `markets`, `state` and `reasons` are the vocabulary; `margin` is the arithmetic;
`positions`, `order_rules`, `matching` and `liquidation` are what happens to an account;
`exchange` is the face of all that; `seeds` reads seed files; `wire/` is HTTP; `control` is the
client of the control port. Agreement with this simulator is not agreement with an exchange.
"""
