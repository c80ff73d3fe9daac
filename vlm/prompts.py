"""Prompt templates and label builders: how a question and its answer become tokens, and which of them are supervised.

A template gives the text before the answer, in the model's own form; the builder of labels joins the answer to it.
Facts of the reference builders: vlm_fiu_mmu_safe 1.2 (FIUBench data_module.py and config/model_config.yaml at 8e12cdd)
and 3.2 (SafeEraser, a fork of it).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from mmunlearn.errors import UserError, near_miss

IGNORED = -100  # label of a token that is not supervised
AS_WRITTEN = "as written"  # tag of an example whose answer's case no label builder folds


@dataclass(frozen=True)
class Template:
    """Text around a question. `image` is where the picture's placeholder goes, at the head of the question, `bare` what
    stands there without one; `end` follows the answer ("" = the tokenizer's end token)."""

    system: str = ""
    user: str = ""
    answer: str = ""
    image: str = "{image}\n"
    bare: str = ""
    end: str = ""

    def render(self, question: str, image: str, system: str | None) -> str:
        """Everything before the answer; `image` is the placeholder's text, "" for a text-only question."""
        place = self.image.format(image=image) if image else self.bare
        head = self.system if system is None else system
        return f"{head}{self.user}{place}{question}{self.answer}"


_CURIOUS = (
    "A chat between a curious {who} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {who}'s questions. "
)
TEMPLATES: dict[str, Template] = {
    "llava-phi": Template(user="<|user|>\n", answer="<|end|>\n<|assistant|>\n", end="<|end|>"),
    "vicuna": Template(system=_CURIOUS.format(who="human"), user="USER: ", answer=" ASSISTANT: "),
    "vicuna-v1": Template(system=_CURIOUS.format(who="user"), user="USER: ", answer=" ASSISTANT: "),
    "unlok": Template(system=_CURIOUS.format(who="human"), user="USER: ", answer=" ASSISTANT:"),
    "instructblip": Template(user="Question: ", answer=" Answer:"),
    "paligemma": Template(image="{image}<bos>", bare="<bos>", answer="\n"),
    "mini": Template(user="USER: ", answer=" ASSISTANT:"),
}


class Prompt(NamedTuple):
    """A rendered prompt and the text that ends its answer."""

    text: str
    end: str


class Prompter:
    """Renders questions for one processor. Raises UserError for an unknown template or a model without one."""

    def __init__(self, processor: Any, placeholder: str, template: str, system: str | None):
        self.processor, self.placeholder, self.system = processor, placeholder, system
        self.tokenizer = processor.tokenizer
        self.template: Template | None = None
        if template != "auto":
            if template not in TEMPLATES:
                raise UserError(f"model.template: {template!r} is unknown. {near_miss(template, ['auto', *TEMPLATES])}")
            self.template = TEMPLATES[template]
        elif not self._chat():
            raise UserError(
                "model.template: this model has no chat template. Name one: " + ", ".join(sorted(TEMPLATES)) + "."
            )
        self._end: str | None = None

    def _chat(self) -> str | None:
        return getattr(self.processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)

    def render(self, question: str, *, image: bool) -> Prompt:
        """The text before the answer to `question`, with one placeholder where a picture belongs."""
        if self.template is not None:
            text = self.template.render(question, self.placeholder if image else "", self.system)
            return Prompt(text, self.template.end or self.tokenizer.eos_token or "")
        if self._end is None:
            self._end = self._answer_end()
        return Prompt(self._conversation(question, image, None), self._end)

    def _conversation(self, question: str, image: bool, answer: str | None) -> str:
        content: list[dict[str, str]] = [{"type": "image"}] if image else []
        messages: list[dict[str, Any]] = []
        if self.system is not None:
            messages.append({"role": "system", "content": [{"type": "text", "text": self.system}]})
        messages.append({"role": "user", "content": [*content, {"type": "text", "text": question}]})
        if answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        owner = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        if owner is self.tokenizer and not image:
            for message in messages:  # a tokenizer's own template knows text alone
                message["content"] = message["content"][-1]["text"]
        return owner.apply_chat_template(messages, add_generation_prompt=answer is None, tokenize=False)

    def _answer_end(self) -> str:
        """The special token that the chat template writes after an answer; the tokenizer's end token where none is."""
        probe = "zqx"
        _, _, tail = self._conversation("hello", False, probe).rpartition(probe)
        special = [token for token in self.tokenizer.all_special_tokens if token and token in tail]
        if special:
            return min(special, key=tail.index)
        return self.tokenizer.eos_token or ""


class Tokens(NamedTuple):
    """Token ids of a whole example, and from which position on they are supervised."""

    ids: list[int]
    start: int


def tokenize(tokenizer: Any, prompt: Prompt, question: str, answer: str, labels: str, *, fold: bool = True) -> Tokens:
    """Prompt and answer as tokens under a label builder; `prompt.text` must already hold `cased(question, labels)`.

    clean: exactly the answer's tokens and the end token are supervised. fiubench, safeeraser: the answer's case folded
    by `str.capitalize`, no end token, prompt and answer tokenised as one text, the prompt's length minus one masked:
    its last token is supervised, or where that merges with the answer ("ASSISTANT: " and a word) the answer alone.
    offside: as clean, without the end token. fold: False leaves the answer's case alone under any builder.
    """
    text = cased(answer, labels) if fold else answer
    head = prompt_tokens(tokenizer, prompt.text)
    whole = prompt_tokens(tokenizer, prompt.text + _glue(prompt.text, text) + text)
    start = len(head)
    released = labels in {"fiubench", "safeeraser"}
    if released and whole[: start - 1] == head[: start - 1]:
        return Tokens(whole, max(1, start - 1))
    if whole[:start] != head:
        # The template's last characters merge with the answer's first: keep the prompt as generation sees it.
        whole = head + list(tokenizer(_glue(prompt.text, text) + text, add_special_tokens=False).input_ids)
    if labels == "clean" and prompt.end:
        whole += list(tokenizer(prompt.end, add_special_tokens=False).input_ids)
    return Tokens(whole, max(1, start - 1) if released else start)


def prompt_tokens(tokenizer: Any, text: str) -> list[int]:
    """Ids of a prompt with the tokenizer's start token, once: a chat template may have written it already."""
    start = tokenizer.bos_token
    return list(tokenizer(text, add_special_tokens=not (start and text.startswith(start))).input_ids)


def cased(text: str, labels: str) -> str:
    """The text as a label builder writes it: `str.capitalize` (which lowers every other letter) under fiubench and
    safeeraser, untouched otherwise."""
    return text.capitalize() if labels in {"fiubench", "safeeraser"} else text


def _glue(prompt: str, answer: str) -> str:
    """A blank between prompt and answer where the template leaves none ("ASSISTANT:" and a word)."""
    return " " if prompt and prompt[-1] == ":" and answer[:1] not in {"", " ", "\n"} else ""
