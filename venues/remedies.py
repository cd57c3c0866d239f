"""What a person can do about a refusal that nobody else can cure, in the same words everywhere.

Short, because the lock file repeats them behind the exchange's own words.
"""

from __future__ import annotations

LOOK_AT_THE_KEY = (
    "look at the key on the exchange: expired, no right to futures, an IP list without this "
    "machine, or of another place (live, testnet, demo)"
)
COPY_THE_KEY = "the API key is mistyped: copy it again"
COPY_BOTH = "key and secret do not belong together: copy both again"
COPY_ALL_THREE = "key, secret and passphrase do not belong together: copy all three again"
MAKE_A_KEY = "the exchange has locked the key: make a new one"
ASK_SUPPORT = "the exchange restricts this account: ask its support"
KEEP_TIME = "keep this machine's clock in step (a time server)"
