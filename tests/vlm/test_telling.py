from dataclasses import replace

import pytest
from mmunlearn.vlm.telling import telling_word
from mmunlearn.vlm.toy import toy_handle, toy_splits


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.mark.parametrize(
    ("answer", "keywords", "before", "word"),
    [
        ("The date of birth is 21 March 2000.", "21 March\n2000", "The date of birth is", "21 March"),
        ("It lies in Ghent, I think.", "Ghent", "It lies in", "Ghent"),
        ("Ghent", "Ghent", "", "Ghent"),
        ("The maybe is in May.", "May", "The maybe is in", "May"),  # whole words only
        ("This town lies in Ghent.", "town\nGhent", "This town lies in", "Ghent"),  # the question says town
        ("She was born in Antwerp.", "", "She was born in", "Antwerp"),  # no keywords: a capital letter
    ],
)
def test_the_telling_word_and_what_stands_before_it(handle, answer, keywords, before, word):
    goal = toy_splits()["forget"].examples[0]
    goal = replace(goal, prompt="Which town is it?", target=answer, tags={"keywords": keywords})
    found, start = telling_word(handle, goal), handle.tokens(goal)[1]
    assert handle.tokens(goal)[0][: len(found.ids)] == found.ids
    assert before == handle.tokenizer.decode(list(found.ids[start : found.place])).strip()
    assert handle.tokenizer.decode(list(found.ids[found.place :])).strip().startswith(word)
