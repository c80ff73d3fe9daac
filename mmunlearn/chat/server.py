"""A model behind an OpenAI-compatible server: bounded parallel requests, retries with back-off, nothing lost."""

import base64
import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator

from mmunlearn.chat.base import AnswerForm, ChatModel, Conversation, Message, ModelSettings, Reply
from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError

log = logging.getLogger(__name__)

WRONG_SETTINGS = {401: "the key is refused", 403: "access is refused", 404: "no such model or address"}
WORTH_A_RETRY = (408, 409, 425, 429)  # and everything from 500 up


class ServerSettings(ModelSettings):
    """An OpenAI-compatible server.

    base_url: its address up to and without /chat/completions. api_key_env: the environment variable that holds the
    key; the key itself is never stored. parallel: requests at a time. The delay before retry k is
    min(backoff_s · 2^k, backoff_max_s) seconds, or what the server asks for, never more than backoff_max_s.
    json_mode: `schema` or `object` ask the server to keep the answer to {"answer": …}; not every server can.
    """

    base_url: str
    api_key_env: str = "OPENAI_API_KEY"
    parallel: int = Field(8, ge=1, le=256)
    retries: int = Field(5, ge=0)
    backoff_s: float = Field(1.0, ge=0)
    backoff_max_s: float = Field(60.0, ge=0)
    timeout_s: float = Field(60.0, gt=0)
    json_mode: Literal["off", "object", "schema"] = "off"

    @field_validator("json_mode", mode="before")
    @classmethod
    def _words_of_yaml(cls, value: Any) -> Any:
        """YAML reads the word `off` as false."""
        return "off" if value is False else value

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        if "@" in value.partition("//")[2].partition("/")[0]:
            raise ValueError("must hold no user name or password; name a variable in api_key_env")
        return value.rstrip("/")


class ServerChat(ChatModel):
    """Asks an OpenAI-compatible server. A conversation without an answer is a Reply with an error, never an exception;
    a server that cannot be reached at all, or refuses the key or the model, is a UserError."""

    Config = ServerSettings

    @property
    def batch(self) -> int:
        return 4 * self.settings.parallel

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ImportError:
            raise UserError(
                "backend.kind=server: the package openai is not installed.\nInstall it: pip install 'mmunlearn[judges]'"
            ) from None
        settings = self.settings
        # Local servers ask for no key, and the client insists on one.
        key = os.environ.get(settings.api_key_env) or "none"
        return openai.OpenAI(base_url=settings.base_url, api_key=key, max_retries=0, timeout=settings.timeout_s)

    def replies(self, conversations: Sequence[Conversation], answer: AnswerForm | None = None) -> list[Reply]:
        """One reply a conversation, at most `parallel` requests at a time."""
        client = self._client
        with ThreadPoolExecutor(self.settings.parallel) as pool:
            asked = [pool.submit(self._ask, client, conversation, answer) for conversation in conversations]
            try:
                found = [future.result() for future in asked]
            except BaseException:
                for future in asked:
                    future.cancel()
                raise
        if found and all(reply.again for reply in found):
            self._insist_on_reachable(client)
        return found

    def _ask(self, client: Any, conversation: Conversation, answer: AnswerForm | None) -> Reply:
        import openai

        failure = ""
        for attempt in range(self.settings.retries + 1):
            wait: float | None = None
            try:
                raw = client.chat.completions.with_raw_response.create(**self._request(conversation, answer))
                found = _content(raw.content)
                if found is not None:
                    return Reply(_unwrapped(found) if self._constrained(answer) else found)
                failure = "an answer that is not of the protocol"
            except openai.APIStatusError as error:
                status = error.status_code
                failure = f"status {status}"
                if status in WRONG_SETTINGS:
                    raise UserError(self._refused(status)) from None
                if status < 500 and status not in WORTH_A_RETRY:
                    return Reply("", failure)
                wait = _seconds(error.response.headers.get("retry-after"))
            except openai.APITimeoutError:
                failure = f"no answer within {self.settings.timeout_s:g} s"
            except openai.APIConnectionError as error:
                failure = f"connection lost ({type(error.__cause__ or error).__name__})"
            if attempt < self.settings.retries:
                delay = self.settings.backoff_s * 2**attempt if wait is None else wait
                time.sleep(min(delay, self.settings.backoff_max_s))
        log.warning("%s: no answer after %d attempts: %s", self.settings.base_url, self.settings.retries + 1, failure)
        return Reply("", failure, again=True)

    def _request(self, conversation: Conversation, answer: AnswerForm | None) -> dict[str, Any]:
        settings = self.settings
        if self._constrained(answer):
            assert answer is not None
            *before, last = conversation
            first = f'"explanation": at most {answer.explained} characters, ' if answer.explained else ""
            told = f'Answer with a JSON object only: {{{first}"answer": {_described(answer)}}}'
            conversation = (*before, last._replace(text=f"{last.text}\n{told}"))
        request: dict[str, Any] = {
            "model": settings.model, "messages": [_message(message) for message in conversation],
            "max_tokens": settings.max_new_tokens, "temperature": settings.temperature,
        }  # fmt: skip
        if settings.temperature:
            request["seed"] = settings.seed
        if self._constrained(answer):
            assert answer is not None
            request["response_format"] = _response_format(answer, settings.json_mode)
        return request

    def _constrained(self, answer: AnswerForm | None) -> bool:
        return answer is not None and self.settings.json_mode != "off"

    def _refused(self, status: int) -> str:
        settings = self.settings
        return (
            f"{settings.base_url}: {WRONG_SETTINGS[status]} (status {status}, model {settings.model!r}, key from "
            f"{settings.api_key_env}).\nSet {settings.api_key_env}, or correct backend.base_url or backend.model."
        )

    def _insist_on_reachable(self, client: Any) -> None:
        """Raise UserError when the server answers nothing at all; any HTTP status counts as an answer."""
        import openai

        try:
            client.models.list()
        except openai.APIConnectionError as error:
            raise UserError(
                f"{self.settings.base_url}: the server cannot be reached ({type(error.__cause__ or error).__name__}).\n"
                "What was answered is kept. Start the server, or correct backend.base_url, and run the command again."
            ) from None
        except Exception:  # it speaks, so it is there; what it says here does not matter
            return


def _message(message: Message) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_url(image)}} for image in message.images
    ]
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def data_url(image: ImageRef) -> str:
    """The picture's own bytes as a data URL; formats that browsers do not know are sent as PNG."""
    import io

    from PIL import Image

    content = image.read()
    try:
        with Image.open(io.BytesIO(content)) as picture:
            kind = picture.format
    except (OSError, SyntaxError, ValueError):
        kind = None
    if kind not in ("PNG", "JPEG", "GIF", "WEBP"):
        stream = io.BytesIO()
        image.open().save(stream, format="PNG")
        content, kind = stream.getvalue(), "PNG"
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}"


def _content(body: bytes) -> str | None:
    """Text of the first choice; None where the body is not of the protocol. A refusal to speak is empty text."""
    try:
        message = json.loads(body)["choices"][0]["message"]
        content = message["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    if content is None:
        return ""
    return content if isinstance(content, str) else None


def _unwrapped(text: str) -> str:
    """The answer inside {"answer": …}; anything else stays as it is, for the parser to refuse."""
    try:
        found = json.loads(text)["answer"]
    except (ValueError, KeyError, TypeError):
        return text
    return found if isinstance(found, str) else json.dumps(found)


def _described(answer: AnswerForm) -> str:
    if answer.words:
        return " or ".join(json.dumps(word) for word in answer.words)
    return f"a {'whole number' if answer.whole else 'number'} from {answer.low:g} to {answer.high:g}"


def _response_format(answer: AnswerForm, mode: str) -> dict[str, Any]:
    if mode == "object":
        return {"type": "json_object"}
    if answer.words:
        field: dict[str, Any] = {"type": "string", "enum": list(answer.words)}
    else:
        kind = "integer" if answer.whole else "number"
        field = {"type": kind, "minimum": answer.low, "maximum": answer.high}
    fields = {"explanation": {"type": "string", "maxLength": answer.explained}} if answer.explained else {}
    fields |= {"answer": field}  # last: what is written before it is what the model has to go by
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}


def _seconds(header: str | None) -> float | None:
    try:
        value = float(header) if header is not None else None
    except ValueError:
        return None
    return value if value is not None and value >= 0 else None
