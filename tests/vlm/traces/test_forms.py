"""Forms of a question: what is asked, where the right letter stands, likelihood and accuracy by hand."""

import math
from dataclasses import replace

import pytest
from mmunlearn.vlm.traces.forms import change, choice, forms_of, score_forms, statement, without_paraphrases

from mmunlearn.data import Example
from mmunlearn.handle import Response

FACT = Example(id="f/1", prompt="Where was she born?", target="In Oslo.", choices=("In Rome.", "In Lima.", "In Oslo."))


def test_every_form_asks_the_same_fact_under_its_own_id():
    made = forms_of(FACT)
    assert ["question", "cloze", "choice", "statement"] == list(made)
    ids = [e.id for items in made.values() for e in items]
    assert len(ids) == len(set(ids)) == 5
    assert all("Where was she born?" in e.prompt for items in made.values() for e in items)
    assert ("In Oslo.", "In Rome.", "In Lima.") == made["question"][0].choices


def test_the_right_letter_moves_with_the_fact_and_not_with_the_order():
    places = {choice(replace(FACT, id=f"f/{i}")).target for i in range(40)}
    assert {"A", "B", "C"} == places
    made = choice(FACT)
    line = next(line for line in made.prompt.split("\n") if line.startswith(f"{made.target}: "))
    assert f"{made.target}: In Oslo." == line
    assert made == choice(FACT)
    assert made.target == made.choices[0]


def test_statements_are_one_true_and_one_false():
    true, false = statement(FACT)
    assert ("Yes", "No") == (true.target, false.target)
    assert "In Oslo." in true.prompt
    assert "In Rome." in false.prompt
    assert "In Oslo." not in false.prompt


def test_a_fact_without_false_answers_can_only_be_asked():
    assert ["question"] == list(forms_of(replace(FACT, choices=())))


def test_paraphrases_of_the_right_answer_are_no_false_answers():
    (fact,) = without_paraphrases([replace(FACT, choices=("She was born in Oslo.", "In Rome."))], 1)
    assert ("In Rome.",) == fact.choices


class Said:
    """A model whose losses are given by form."""

    def __init__(self, nll):
        self.nll = nll

    def respond(self, examples, how, seed):
        rows = []
        for e in examples:
            form = e.id.rpartition("/")[2][:-1]
            own, others = self.nll[form]
            fields = {"nll": own, "count": 2}
            if e.choices:
                n = len(e.choices) - 1
                fields |= {"choices_nll": [own] + [others] * n, "choices_count": [2] + [4] * n}
            rows.append(Response(e.id, fields))
        return rows


def test_scores_by_hand():
    handle = Said({"question": (1.0, 8.0), "cloze": (2.0, 2.0), "choice": (2.0, 4.0), "statement": (4.0, 2.0)})
    found = score_forms(handle, [FACT, replace(FACT, id="f/2")])
    assert math.exp(-0.5) == pytest.approx(found["question"].likelihood.value)
    # nats a token: .5 against 2; 1 against .5; 1 against 1 (a tie of three counts a third); 2 against .5
    assert [1.0, 0.0, 1 / 3, 0.0] == pytest.approx([found[f].accuracy.value for f in found])
    assert [1 / 3, 1 / 3, 1 / 3, 1 / 2] == pytest.approx([found[f].chance for f in found])
    assert [2, 2, 2, 4] == [found[f].likelihood.n for f in found]


def test_change_is_relative_to_the_original():
    one = score_forms(Said(dict.fromkeys(("question", "cloze", "choice", "statement"), (2.0, 4.0))), [FACT])
    two = score_forms(Said(dict.fromkeys(("question", "cloze", "choice", "statement"), (4.0, 4.0))), [FACT])
    assert math.exp(-1) - 1 == pytest.approx(change(one, two)["cloze"])
    assert 0.0 == change(one, one)["question"]


def test_a_model_that_knows_the_facts_scores_above_chance_on_the_form_it_learnt(task):
    handle, splits = task()
    facts = splits["forget"].examples
    found = score_forms(handle, facts)
    assert found["question"].accuracy.value > found["question"].chance + 0.3
