"""A language model as judge: a template says what is asked, a backend who answers: a local model, a server, a rule."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator

from mmunlearn import registry
from mmunlearn.chat.base import ChatModel, Message, open_chat, read_settings
from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.judges._template import Template, read_template
from mmunlearn.judges.base import UNSCORED, Item, Judge, Sample, Verdict
from mmunlearn.judges.base_pictures import content_of, path_of
from mmunlearn.settings import Settings, build, plain

# Settings that decide how fast an answer comes, not which.
TRANSPORT = ("parallel", "retries", "backoff_s", "backoff_max_s", "timeout_s", "batch_size", "device", "api_key_env")


class RuleBackend(Settings):
    """A rule in the model's place, so that mini editions need no model: another judge, by name or with settings.

    Its value v in 0..1 is spread over the template's scale (1 - v where `invert`); label templates take the label whose
    value v is nearest to.
    """

    kind: Literal["rule"] = "rule"
    rule: str | dict[str, Any]
    invert: bool = False

    @field_validator("rule")
    @classmethod
    def _named(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if not isinstance(value, str) and not isinstance(value.get("name"), str):
            raise ValueError("rule needs a name")
        return value


class ModelJudge(Judge):
    """Asks a model for a grade and reads it strictly: what is not clearly one of the offered answers is unscored.

    template: a name under mmunlearn/judges/templates, or the path of a YAML file. backend: {kind: chat, model: …},
    {kind: server, base_url: …, model: …} or {kind: rule, rule: …}. variables: text for the template's placeholders.
    classes: the labels of a template that lists them. A response that is no text, or no readable picture where the
    template shows the response's picture, is unscored.
    """

    class Config(Settings):
        """Which template, who answers."""

        template: str = "fiubench_factuality"
        backend: dict[str, Any] = Field(default_factory=dict)
        variables: dict[str, str] = Field(default_factory=dict)
        classes: tuple[str, ...] = ()

    check_settings = {"template": "safeeraser_refusal", "backend": {"kind": "rule", "rule": "refusal"}}
    samples = (Sample("I'm sorry, but I can't help with that.", "yes"), Sample("A red car on a bridge.", "no"))

    def __init__(self, config: Settings | Mapping[str, Any] | None = None):
        super().__init__(config)
        where = f"judge[{self.name()}]"
        self.template: Template = read_template(self.config.template).with_classes(self.config.classes, where)
        self.offered = tuple(self.template.labels)  # type: ignore[misc]  # the template's, judge by judge
        if self.config.backend and self._kind != "rule":
            read_settings(self._chat_content, f"judge[{self.name()}].backend")  # wrong settings show before any work

    @property
    def _kind(self) -> str:
        return str(self.config.backend.get("kind", "chat"))

    @property
    def _chat_content(self) -> dict[str, Any]:
        return {"max_new_tokens": self.template.max_new_tokens} | self.config.backend

    @cached_property
    def _model(self) -> ChatModel:
        return open_chat(self._chat_content, f"judge[{self.name()}].backend")

    @cached_property
    def _rule(self) -> tuple[RuleBackend, Judge]:
        backend = build(RuleBackend, self.config.backend, f"judge[{self.name()}].backend")
        content = {"name": backend.rule} if isinstance(backend.rule, str) else dict(backend.rule)
        return backend, registry.load("judges", content.pop("name"))(content)

    def ready(self) -> None:
        """Raise UserError without a backend, or where the rule in its place cannot work."""
        self._insist_on_backend()
        if self._kind == "rule":
            self._rule[1].ready()

    @property
    def batch(self) -> int:
        return self._rule[1].batch if self._kind == "rule" else self._model.batch

    def key(self, item: Item) -> str:
        """Cache key: the template's content, what decides the model's words, the prompt as sent and the picture."""
        self._insist_on_backend()
        if self._kind == "rule":
            backend, rule = self._rule
            seen: Any = [backend.invert, rule.key(item)]
        else:
            who = {k: v for k, v in plain(self._model.settings).items() if k not in TRANSPORT}
            if self._model.identity:
                who = {k: v for k, v in who.items() if k != "root"} | {"identity": self._model.identity}
            picture: Any = item.example.image.digest if self.template.picture and item.example.image else ""
            if self.template.shows:
                picture = [content_of(item, field) for field in self._shown]
                text: str | None = self._prompt(item)
            else:
                text = self._prompt(item) if _is_text(item) else None
            seen = [self._kind, who, text, picture]
        content = json.dumps([self.name(), self.version, self.template.digest, seen], sort_keys=True, default=str)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def grade(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """Verdicts of the template's rules where they apply, of the backend for the rest."""
        self._insist_on_backend()
        found: dict[int, Verdict] = {}
        for index, item in enumerate(items):
            short = self.template.short
            if self.template.shows:
                bad = self._unseen(item)
                if bad is not None:
                    found[index] = bad
            elif not _is_text(item):
                found[index] = UNSCORED._replace(explanation="no text")
            elif short is not None and len(item.fields["text"].strip()) <= short.chars:
                found[index] = Verdict(short.value, None, f"at most {short.chars} characters")
        rest = [index for index in range(len(items)) if index not in found]
        asked = [items[index] for index in rest]
        verdicts = self._by_rule(asked) if self._kind == "rule" else self._by_model(asked)
        return [(found | dict(zip(rest, verdicts, strict=True)))[index] for index in range(len(items))]

    def _by_model(self, items: Sequence[Item]) -> list[Verdict]:
        conversations = [(Message("user", self._prompt(item), self._pictures(item)),) for item in items]
        replies = self._model.replies(conversations, self.template.form) if conversations else []
        return [
            UNSCORED._replace(explanation=reply.error, again=reply.again) if reply.error
            else self._valued(self.template.read(reply.text), item)
            for reply, item in zip(replies, items, strict=True)
        ]  # fmt: skip

    def _valued(self, verdict: Verdict, item: Item) -> Verdict:
        """Where the template says so, a label's value is whether the example's tag is that label."""
        tag = self.template.value_tag
        if not tag or not verdict.scored or verdict.label is None:
            return verdict
        if tag not in item.example.tags:
            return UNSCORED._replace(explanation=f"the example has no tag {tag}", raw=verdict.raw)
        return verdict._replace(value=float(item.example.tags[tag] == verdict.label))

    @property
    def _shown(self) -> tuple[str, ...]:
        """Fields of the response that hold the pictures shown, the reference first."""
        return ("original_image", "image") if self.template.shows == "pair" else ("image",)

    def _unseen(self, item: Item) -> Verdict | None:
        """Why a response whose picture is to be shown cannot be graded; None where it can."""
        for field in self._shown:
            path = path_of(item, field)
            if path is None:
                return UNSCORED._replace(explanation=f"no {field.replace('_', ' ')}")
            try:
                ImageRef(path=path).open()
            except UserError as error:
                return UNSCORED._replace(explanation=str(error), again=not path.is_file())
        return None

    def _prompt(self, item: Item) -> str:
        return self.template.rendered(item, self.config.variables)

    def _pictures(self, item: Item) -> tuple[Any, ...]:
        if self.template.shows:
            return tuple(ImageRef(path=path_of(item, field)) for field in self._shown)
        return (item.example.image,) if self.template.picture and item.example.image else ()

    def _by_rule(self, items: Sequence[Item]) -> list[Verdict]:
        backend, rule = self._rule
        return [self._spread(verdict, backend, rule) for verdict in (rule.grade(items) if items else ())]

    def _spread(self, verdict: Verdict, backend: RuleBackend, rule: Judge) -> Verdict:
        if not verdict.scored:
            return verdict
        share = min(1.0, max(0.0, 1 - verdict.value if backend.invert else verdict.value))
        said = f"rule {rule.name()}: {verdict.label or format(verdict.value, '.3g')}"
        if self.template.number is None:
            if self.template.listed:  # a rule that names one of the classes itself
                word = (verdict.label or "").split("/", 1)[0]
                return verdict._replace(label=word, explanation=said) if word in self.template.labels else UNSCORED
            label = min(self.template.labels, key=lambda word: abs(self.template.labels[word] - share))
            return Verdict(self.template.labels[label], label, said)
        value = self.template.number.low + share * (self.template.number.high - self.template.number.low)
        return Verdict(round(value) if self.template.number.whole else value, None, said)

    def _insist_on_backend(self) -> None:
        if not self.config.backend:
            raise UserError(
                f"judge model_judge ({self.config.template}) has no backend.\n"
                "Give one: evaluate.judge_backend.kind=server evaluate.judge_backend.base_url=http://localhost:8000/v1 "
                "evaluate.judge_backend.model=NAME,\nor evaluate.judge_backend.kind=chat "
                "evaluate.judge_backend.model=FOLDER."
            )


def _is_text(item: Item) -> bool:
    return isinstance(item.fields.get("text"), str)
