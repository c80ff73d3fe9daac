"""Judges: from a response to a verdict; one file each, named like the judge."""
