"""A transformers folder behind the tests' server: what a real OpenAI-compatible server does with text and pictures."""

import base64
import threading
from collections.abc import Callable
from typing import Any

from mmunlearn.chat.base import Message
from mmunlearn.chat.local import LocalChat, LocalSettings
from mmunlearn.data import ImageRef


def replier(folder: str) -> Callable[[dict[str, Any]], str]:
    """Answers requests with the model of `folder`, one at a time, as many tokens as the request allows."""
    lock = threading.Lock()

    def reply(body: dict[str, Any]) -> str:
        conversation = tuple(_message(message) for message in body["messages"])
        settings = LocalSettings(
            model=folder, max_new_tokens=body["max_tokens"], temperature=body["temperature"], device="cpu"
        )
        with lock:
            (answer,) = LocalChat(settings).replies([conversation])
        return answer.text

    return reply


def _message(message: dict[str, Any]) -> Message:
    content = message["content"]
    if isinstance(content, str):
        return Message(message["role"], content)
    images = [
        ImageRef(content=base64.b64decode(part["image_url"]["url"].partition(",")[2]))
        for part in content
        if part["type"] == "image_url"
    ]
    text = "\n".join(part["text"] for part in content if part["type"] == "text")
    return Message(message["role"], text, tuple(images))
