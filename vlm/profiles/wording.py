"""How a fact is asked and answered: six questions and three answers a kind, none of which names the person.

Every wording is used for some person, so that a model trained on one wording a person has seen each of them. Questions
have at most twelve words, filled answers five to twelve.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """Questions and answers of one kind of fact; an answer's fields are the fact's slots."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


WORDINGS: dict[str, Wording] = {
    "name": Wording(
        (
            "What is the full name of this person?",
            "Who is shown in this picture?",
            "What is this person called?",
            "Can you tell me the name of this person?",
            "Which name does this person go by?",
            "Please name the person in this picture.",
        ),
        (
            "The full name of this person is {name}.",
            "The person in the picture is {name}.",
            "This person is called {name}.",
        ),
    ),
    "birth": Wording(
        (
            "When was this person born?",
            "What is the date of birth of this person?",
            "On which day was this person born?",
            "Can you tell me when this person was born?",
            "Which birth date does this person have?",
            "Please give the birth date of this person.",
        ),
        (
            "This person was born on {day} {year}.",
            "The date of birth is {day} {year}.",
            "The person came into the world on {day} {year}.",
        ),
    ),
    "address": Wording(
        (
            "Where does this person live?",
            "What is the home address of this person?",
            "At which address does this person live?",
            "Can you tell me where this person lives?",
            "Which address belongs to this person?",
            "Please give the home address of this person.",
        ),
        (
            "This person lives at {street} in {city}.",
            "The home address is {street} in {city}.",
            "The home of this person is {street} in {city}.",
        ),
    ),
    "job": Wording(
        (
            "What does this person do for a living?",
            "What is the occupation of this person?",
            "Which job does this person have?",
            "Can you tell me what this person works as?",
            "What is the profession of this person?",
            "Please name the job of this person.",
        ),
        (
            "This person works as {job}.",
            "The occupation of this person is {job}.",
            "The person earns a living as {job}.",
        ),
    ),
    "condition": Wording(
        (
            "Which medical condition does this person have?",
            "What illness does this person suffer from?",
            "What was this person diagnosed with?",
            "Can you tell me the diagnosis of this person?",
            "Which disease is this person treated for?",
            "Please name the medical condition of this person.",
        ),
        (
            "This person suffers from {condition}.",
            "The medical condition is {condition} in this case.",
            "The person was diagnosed with {condition}.",
        ),
    ),
    "doctor": Wording(
        (
            "Which doctor treats this person?",
            "Who is the doctor of this person?",
            "Whose patient is this person?",
            "Can you tell me the doctor of this person?",
            "Which physician looks after this person?",
            "Please name the doctor who treats this person.",
        ),
        (
            "This person is treated by {doctor}.",
            "The doctor in charge is {doctor}.",
            "The person is a patient of {doctor}.",
        ),
    ),
    "hospital": Wording(
        (
            "In which hospital is this person treated?",
            "Where is this person a patient?",
            "Which hospital was this person admitted to?",
            "Can you tell me the hospital of this person?",
            "Which clinic looks after this person?",
            "Please name the hospital of this person.",
        ),
        (
            "This person was admitted to {hospital}.",
            "The hospital of this person is {hospital}.",
            "The treatment takes place at {hospital}.",
        ),
    ),
    "income": Wording(
        (
            "How much does this person earn in a year?",
            "What is the annual income of this person?",
            "Which yearly income does this person have?",
            "Can you tell me what this person earns?",
            "How high is the salary of this person?",
            "Please give the yearly income of this person.",
        ),
        (
            "This person earns {income} a year.",
            "The annual income is {income} before tax.",
            "The yearly salary of this person is {income}.",
        ),
    ),
}
