"""Chat model: takes conversations, gives replies in the same order; a conversation that got no answer says why."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import Field

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings, build


class Message(NamedTuple):
    """One turn. role: system, user or assistant. images stand before the text."""

    role: str
    text: str
    images: tuple[ImageRef, ...] = ()


Conversation = tuple[Message, ...]


class Reply(NamedTuple):
    """What came back. error: why there is no answer ("" = there is one). again: asking later may help."""

    text: str
    error: str = ""
    again: bool = False


class Writer(Protocol):
    """Anything that completes a prompt: what rephrasing needs of a language model."""

    def complete(self, prompt: str) -> str:
        """The model's answer to one prompt."""
        ...


class ModelSettings(Settings):
    """What decides the words of an answer, and which model gives them.

    temperature: 0 is greedy. seed: of sampled answers, where the model takes one.
    """

    model: str
    max_new_tokens: int = Field(64, ge=1)
    temperature: float = Field(0.0, ge=0)
    seed: int = 0


class ChatModel(ABC):
    """A language model that is asked in words; `settings` of the class's own `Config`."""

    Config: ClassVar[type[ModelSettings]]

    def __init__(self, settings: Any):
        self.settings = settings

    @property
    def identity(self) -> str:
        """What decides the answers beyond the settings; part of the key of what was answered."""
        return ""

    @property
    @abstractmethod
    def batch(self) -> int:
        """Conversations that it answers at a time."""

    @abstractmethod
    def replies(self, conversations: Sequence[Conversation], answer: "AnswerForm | None" = None) -> list[Reply]:
        """One reply a conversation, in order. answer: the form a server may be told to keep to."""

    def complete(self, prompt: str) -> str:
        """The model's answer to one prompt. Raises UserError when none comes."""
        (reply,) = self.replies([(Message("user", prompt),)])
        if reply.error:
            raise UserError(f"{self.settings.model}: no answer ({reply.error}).")
        return reply.text


class AnswerForm(NamedTuple):
    """What an answer may be: one of `words`, or a number from `low` to `high`; after an explanation of at most
    `explained` characters, where that is not 0."""

    words: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    whole: bool = False
    explained: int = 0


def chat_class(kind: str) -> type[ChatModel]:
    """The class of a backend: `chat` (a local model), `server`, or `trained` (a small one, made from the mini data)."""
    if kind == "chat":
        from mmunlearn.chat.local import LocalChat

        return LocalChat
    if kind == "server":
        from mmunlearn.chat.server import ServerChat

        return ServerChat
    if kind == "trained":
        from mmunlearn.chat.trained import TrainedChat

        return TrainedChat
    raise UserError(f"backend.kind: no such backend. {near_miss(kind, ('chat', 'server', 'trained'))}")


def read_settings(content: Mapping[str, Any], where: str = "backend") -> tuple[type[ChatModel], ModelSettings]:
    """Class and validated settings of a mapping {kind: chat|server|trained, model: …, settings…}; loads no model."""
    rest = dict(content)
    found = chat_class(str(rest.pop("kind", "chat")))
    return found, build(found.Config, rest, where)


def open_chat(content: Mapping[str, Any], where: str = "backend") -> ChatModel:
    """The chat model of a mapping {kind: chat|server, model: …, settings…}.

    A local model's weights are loaded when it is first asked.
    """
    found, settings = read_settings(content, where)
    return found(settings)
