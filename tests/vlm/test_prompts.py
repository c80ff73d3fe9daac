import pytest
from mmunlearn.vlm.prompts import TEMPLATES, Prompt, Prompter, cased, tokenize
from mmunlearn.vlm.scratch import make_model, mini_tokenizer
from mmunlearn.vlm.settings import VlmSettings

from mmunlearn.errors import UserError


@pytest.fixture(scope="module")
def tokenizer():
    return mini_tokenizer()


@pytest.fixture(scope="module")
def processor():
    return make_model(VlmSettings(template="mini"), 0)[1]


def test_the_released_templates_of_fiubench():
    vicuna = TEMPLATES["vicuna"].render("Who?", "<image>", None)
    assert vicuna.startswith("A chat between a curious human and an artificial intelligence assistant.")
    assert vicuna.endswith("USER: <image>\nWho? ASSISTANT: ")
    assert "<|user|>\n<image>\nWho?<|end|>\n<|assistant|>\n" == TEMPLATES["llava-phi"].render("Who?", "<image>", None)


def test_a_text_only_question_has_no_placeholder():
    assert "USER: Who? ASSISTANT:" == TEMPLATES["mini"].render("Who?", "", None)


def test_clean_labels_supervise_exactly_answer_and_end(tokenizer):
    prompt = Prompt("USER: Who? ASSISTANT:", "</s>")
    ids, start = tokenize(tokenizer, prompt, "Who?", "Anna Bell", "clean")
    assert " Anna Bell" == tokenizer.decode(ids[start:-1])
    assert tokenizer.eos_token_id == ids[-1]
    assert prompt.text == tokenizer.decode(ids[:start])


@pytest.mark.parametrize("labels", ["fiubench", "safeeraser"])
def test_reference_labels_fold_case_leave_out_the_end_and_supervise_one_token_more(tokenizer, labels):
    prompt = Prompt("USER: Who? ASSISTANT:", "</s>")
    ids, start = tokenize(tokenizer, prompt, "Who?", "Anna Bell", labels)
    assert " Anna bell" == tokenizer.decode(ids[start + 1 :])
    assert tokenizer.eos_token_id not in ids
    assert "Where is new york?".capitalize() == cased("where is New York?", labels)


def test_an_answer_that_merges_with_the_prompt_keeps_the_prompt_whole(tokenizer):
    prompt = Prompt("USER: Who? ASSISTANT: ", "</s>")  # ends in a blank that a word would swallow
    ids, start = tokenize(tokenizer, prompt, "Who?", "Anna", "clean")
    assert list(tokenizer(prompt.text).input_ids) == ids[:start]
    assert "Anna" == tokenizer.decode(ids[start:-1]).strip()


@pytest.mark.parametrize("labels", ["fiubench", "safeeraser"])
def test_reference_labels_let_the_prompts_last_blank_merge_with_the_answer(tokenizer, labels):
    """The released builders tokenise one text; the masked length, one less than the prompt's, then ends at the word."""
    prompt = Prompt(TEMPLATES["vicuna"].render("Who?", "", None), "</s>")
    ids, start = tokenize(tokenizer, prompt, "Who?", "Anna bell", labels)
    assert list(tokenizer(prompt.text + "Anna bell").input_ids) == ids
    assert len(tokenizer(prompt.text).input_ids) - 1 == start
    assert " Anna bell" == tokenizer.decode(ids[start:])


def test_an_unknown_template_is_refused_with_a_near_miss(processor):
    with pytest.raises(UserError, match="vicuna"):
        Prompter(processor, "<image>", "vicunna", None)


def test_a_model_without_chat_template_asks_for_a_named_one(processor):
    with pytest.raises(UserError, match="has no chat template"):
        Prompter(processor, "<image>", "auto", None)


def test_the_chat_template_tells_what_ends_an_answer(processor):
    import copy

    chatty = copy.copy(processor)
    chatty.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{% for c in m.content %}"
        "{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}"
        "{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    rendered = Prompter(chatty, "<image>", "auto", "Be brief.").render("Who?", image=True)
    assert Prompt("[system]Be brief.[user]<image>Who?[assistant]", "</s>") == rendered
