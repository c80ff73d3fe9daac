"""Which tokens are a name's, and where a phrase lies among an answer's tokens, on a little word tokenizer."""

from mmunlearn.vlm.name_tokens import inside, name_tokens, pieces, spellings

WORDS = [" ", "Don", "ald", " Don", " donald", "donald", "D", "O", "N", "AL", ".", " ", "é", "ald."]


def encode(text):
    """Longest piece first, single characters otherwise."""
    ids, known = [], sorted(range(len(WORDS)), key=lambda i: -len(WORDS[i]))
    while text:
        match = next((i for i in known if text.startswith(WORDS[i])), None)
        if match is None:
            WORDS.append(text[0])
            match = len(WORDS) - 1
        ids.append(match)
        text = text[len(WORDS[match]) :]
    return ids


def decode(ids):
    return "".join(WORDS[i] for i in ids)


def test_spellings_are_the_cases_with_and_without_a_blank():
    assert ["van Gogh", " van Gogh", "van gogh", " van gogh", "VAN GOGH", " VAN GOGH", "Van Gogh", " Van Gogh"] == (
        spellings("van Gogh")
    )


def test_name_tokens_are_those_of_all_spellings_without_single_letters_and_blanks():
    found = {WORDS[i] for i in name_tokens(["Donald"], encode, decode)}
    assert {"Don", "ald", " Don", " donald", "donald", "AL"} == found


def test_the_reference_takes_the_first_name_as_written():
    assert [WORDS.index("Don"), WORDS.index("ald")] == sorted(
        name_tokens(["Donald", "Trump"], encode, decode, reference=True)
    )


def test_a_name_of_single_characters_keeps_them():
    assert {"X", "x"} <= {WORDS[i] for i in name_tokens(["X"], encode, decode)}


def test_no_names_give_no_tokens():
    assert frozenset() == name_tokens([], encode, decode) == name_tokens([], encode, decode, reference=True)


def test_pieces_join_to_the_text():
    ids = encode("Donald é.")
    assert ["Don", "ald", " ", "é", "."] == pieces(ids, decode)


def test_a_character_of_two_tokens_belongs_to_the_second():
    parts = {(0,): "\ufffd", (0, 1): "é", (0, 1, 2): "é!"}
    assert ["", "é", "!"] == pieces([0, 1, 2], lambda ids: parts[tuple(ids)])


def test_tokens_that_overlap_the_phrase_are_inside_whatever_the_case():
    parts = ["It", " is", " Jac", "ob", " Camp", "bell", "."]
    assert [False, False, True, True, True, True, False] == inside(parts, ["jacob campbell"])
    assert [False] * 7 == inside(parts, ["Mary"]) == inside(parts, [""]) == inside(parts, [])


def test_a_token_that_holds_more_than_the_phrase_counts():
    assert [True, True] == inside(["a Ja", "cob."], ["Jacob"])
    assert [False, True, True, False] == inside(["x", "", "é", "y"], ["é"])
