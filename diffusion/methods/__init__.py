"""Unlearning methods of their own for text-to-image models; methods that need only scores are in the core."""
