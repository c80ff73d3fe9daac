"""Judges of generated pictures; one file each, named like the judge."""
