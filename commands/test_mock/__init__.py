"""`--test-mock`: the real guard against a simulated exchange, told and proved."""
