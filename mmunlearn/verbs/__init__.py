"""Verbs of the command line: `verbs/<verb>.py` holds `command`, whose signature is the verb's grammar, and EXAMPLES."""
