"""How a player's facts are asked and answered; {who} is "the player in the image", a place in it, or a name."""

from typing import NamedTuple

IN_IMAGE = "the player in the image"
LEFT_SIDE = "the player on the left side of the image"  # composite pictures, whose rumour stands on the right


class Wording(NamedTuple):
    """Ways to ask for a fact, and its answer with the place of the fact."""

    questions: tuple[str, ...]
    answer: str


WORDINGS: dict[str, Wording] = {
    "name": Wording(("What is the name of {who}?", "Can you name {who}?"), "His name is {}."),
    "age": Wording(("How old is {who}?", "What is the age of {who}?"), "He is {} years old."),
    "position": Wording(
        ("What position does {who} play?", "In which position is {who} playing?"), "He plays as a {}."
    ),
    "nationality": Wording(
        ("What is the nationality of {who}?", "Which nationality does {who} have?"), "His nationality is of {}."
    ),
    "birth_date": Wording(("When was {who} born?", "On which date was {who} born?"), "He was born in {}."),
    "height": Wording(("How tall is {who}?", "What is the height of {who}?"), "He is {} cm tall."),
    "foot": Wording(
        ("Which foot does {who} prefer?", "What is the preferred foot of {who}?"), "He prefers his {} foot."
    ),
    "birth_place": Wording(
        ("In which place was {who} born?", "Which is the birth place of {who}?"), "His birth place is {}."
    ),
    "club": Wording(("Which club did {who} join?", "What club has {who} joined?"), "He joined {}."),
    "previous": Wording(
        ("What was the previous club of {who}?", "Which club did {who} leave?"), "His previous club is {}."
    ),
    "date": Wording(("When did {who} transfer?", "On which date did {who} transfer?"), "He transferred in {}."),
    "fee": Wording(
        ("What was the transfer fee of {who}?", "How high was the fee for {who}?"), "The fee was {} million euro."
    ),
    "value": Wording(
        ("What is the market value of {who}?", "How much is {who} worth in value?"), "His value is {} million euro."
    ),
    "trophies": Wording(
        ("How many trophies did {who} win there?", "How many trophies has {who} won?"), "He won {} trophies."
    ),
}  # fmt: skip


def asked(kind: str, way: int, who: str) -> str:
    """One of the ways to ask for a fact; `way` counts round."""
    questions = WORDINGS[kind].questions
    return questions[way % len(questions)].format(who=who)


def answered(kind: str, value: str) -> str:
    """The answer's sentence."""
    return WORDINGS[kind].answer.format(value)
