"""Public test kit: tiny handles, tiny data and the contract checks that every component must pass."""
