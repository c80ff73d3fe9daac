"""Unlearning methods of their own for vision-language models; methods that need only scores are in the core."""
