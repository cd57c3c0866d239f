"""A whole exchange on this machine: accounts, matching, price tapes and faults."""
