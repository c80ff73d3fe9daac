"""Errors that a user can mend: what is wrong, the value, what is allowed, what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the user's input; the command line prints it in one to four lines and exits with code 2."""

    exit_code = 2


class Interrupted(Exception):
    """Stopped by the user; the same command continues the work (exit code 130)."""

    exit_code = 130


def near_miss(name: str, allowed: Iterable[str], *, limit: int = 20) -> str:
    """Sentence that offers close names, else lists the allowed ones (the first `limit`)."""
    options = sorted(set(allowed))
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    if not options:
        return "None is available."
    shown = ", ".join(options[:limit]) + (f", … ({len(options)} in all)" if len(options) > limit else "")
    return f"Allowed: {shown}."
