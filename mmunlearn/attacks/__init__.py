"""Attacks in the core: membership, relearning, pruning, quantisation; one file each, named like the attack."""
