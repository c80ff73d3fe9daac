"""Unlearning methods of their own for classifiers; methods that need only scores are in the core."""
