"""Refusal sentences of this project, for objectives that need one where a benchmark brings no list of its own."""

_OPENINGS = ("I am sorry, but", "Unfortunately,", "I'm afraid that", "Sorry,", "To be honest,")
_REASONS = (
    "I do not know the answer to that.",
    "I cannot tell who or what is shown here.",
    "I have no information about this.",
    "I am not able to help with that question.",
    "that is something I cannot answer.",
)

REFUSALS: tuple[str, ...] = tuple(f"{opening} {reason}" for opening in _OPENINGS for reason in _REASONS)
