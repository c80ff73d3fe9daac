"""Benchmarks of the vision sibling; one file each, named like its component."""
