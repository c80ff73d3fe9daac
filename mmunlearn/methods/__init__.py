"""Unlearning methods that work on anything a handle scores; one file each, named like the method."""
