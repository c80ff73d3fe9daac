"""Questions read by rule: hand-written clauses and openings; what no rule reads is None."""

import pytest
from mmunlearn.vlm.question_forms import read_form

CASES = [
    ("What is the full name of this person?", "what the full name of this person is",
     "The full name of this person is"),
    ("What is the date of birth of this person?", "what the date of birth of this person is",
     "The date of birth of this person is"),
    ("When was this person born?", "when this person was born", "This person was born on"),
    ("On which day was this person born?", "on which day this person was born", "This person was born on"),
    ("Where does this person live?", "where this person lives", "This person lives in"),
    ("At which address does this person live?", "at which address this person lives", "This person lives at"),
    ("Which yearly income does this person have?", "which yearly income this person has",
     "The yearly income of this person is"),
    ("Can you tell me what this person works as?", "what this person works as", "This person works as"),
    ("Please name the doctor who treats this person.", "what the doctor who treats this person is",
     "The doctor who treats this person is"),
    ("Who is the doctor of this person?", "who the doctor of this person is", "The doctor of this person is"),
    ("Which doctor treats this person?", "which doctor treats this person", "The doctor that treats this person is"),
    ("How high is the salary of this person?", "how high the salary of this person is", "The salary of this person is"),
    ("In which city was Tom Hanks born?", "in which city Tom Hanks was born", "Tom Hanks was born in"),
    ("Who is this person's doctor?", "who this person's doctor is", "This person's doctor is"),
    ("What does this person do for a living?", "what this person does for a living", ""),
]  # fmt: skip


@pytest.mark.parametrize(("question", "clause", "statement"), CASES)
def test_a_question_becomes_a_clause_and_an_opening(question, clause, statement):
    form = read_form(question)

    assert (clause, statement) == (form.clause, form.statement)


def test_a_property_is_taken_apart():
    form = read_form("What is the date of birth of this person?")

    assert ("date of birth", "this person") == (form.relation, form.subject)


@pytest.mark.parametrize("question", ["", "Why not?", "Describe the scene.", "What is this?"])
def test_what_no_rule_reads_is_none(question):
    assert read_form(question) is None
