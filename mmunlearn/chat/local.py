"""A chat model of transformers on this machine, text only or with pictures, asked in batches."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmunlearn.chat.base import AnswerForm, ChatModel, Conversation, ModelSettings, Reply
from mmunlearn.chat.packaged import SMOLLM2, smollm2_folder
from mmunlearn.errors import UserError
from mmunlearn.seeds import derive


class LocalSettings(ModelSettings):
    """A model of transformers: a folder, a hub name, or `smollm2` (SmolLM2-135M-Instruct out of its package).

    dtype: auto is the checkpoint's own on an accelerator and float32 on a CPU.
    """

    model: str = SMOLLM2
    batch_size: int = Field(8, ge=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class LocalChat(ChatModel):
    """Greedy or sampled answers of a local model; the answer to one conversation does not depend on the others.

    Conversations are padded on the left. Sampling draws from a stream of its own for each conversation.
    """

    Config = LocalSettings

    @property
    def batch(self) -> int:
        return self.settings.batch_size

    def replies(self, conversations: Sequence[Conversation], answer: AnswerForm | None = None) -> list[Reply]:
        """One reply a conversation. A conversation longer than the model's window is a reply with an error."""
        found: dict[int, Reply] = {}
        prompts = [self._rendered(conversation) for conversation in conversations]
        lengths = [len(self._tokenizer(prompt, add_special_tokens=False).input_ids) for prompt in prompts]
        room = self._window - self.settings.max_new_tokens
        fitting = [i for i in range(len(prompts)) if lengths[i] <= room]
        for index in set(range(len(prompts))) - set(fitting):
            found[index] = Reply("", f"{lengths[index]} tokens, the model reads {room}")
        fitting.sort(key=lambda i: (lengths[i], i))  # alike lengths together: little padding
        step = 1 if self.settings.temperature else self.settings.batch_size
        for start in range(0, len(fitting), step):
            chosen = fitting[start : start + step]
            images = [[image for turn in conversations[i] for image in turn.images] for i in chosen]
            for index, text in zip(chosen, self._generate([prompts[i] for i in chosen], images), strict=True):
                found[index] = Reply(text)
        return [found[i] for i in range(len(prompts))]

    @cached_property
    def _folder(self) -> str:
        return str(smollm2_folder()) if self.settings.model == SMOLLM2 else self.settings.model

    @cached_property
    def _sees(self) -> bool:
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

        with _explained(self.settings.model):
            config = AutoConfig.from_pretrained(self._folder)
        return config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    @cached_property
    def _processor(self) -> Any:
        """The processor of a model that sees, else the tokenizer."""
        from transformers import AutoProcessor, AutoTokenizer

        with _explained(self.settings.model):
            found: Any = (AutoProcessor if self._sees else AutoTokenizer).from_pretrained(self._folder)
        tokenizer = getattr(found, "tokenizer", found)
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return found

    @property
    def _tokenizer(self) -> Any:
        return getattr(self._processor, "tokenizer", self._processor)

    @property
    def _model(self) -> Any:
        import torch

        device = self.settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = self.settings.dtype
        if dtype == "auto" and device == "cpu":
            dtype = "float32"
        with _explained(self.settings.model):
            return _weights(self._folder, self._sees, dtype, device)

    @property
    def _window(self) -> int:
        config = self._model.config
        text = getattr(config, "text_config", config)
        return int(getattr(text, "max_position_embeddings", 0) or 1 << 30)

    def _rendered(self, conversation: Conversation) -> str:
        pictures = any(turn.images for turn in conversation)
        if pictures and not self._sees:
            raise UserError(f"backend.model: {self.settings.model} reads text only, and the template shows pictures.")
        if not getattr(self._processor, "chat_template", None):
            return "\n\n".join(turn.text for turn in conversation) + "\n"
        turns = [{"role": turn.role, "content": self._parts(turn)} for turn in conversation]
        return self._processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def _parts(self, turn: Any) -> Any:
        if not self._sees:
            return turn.text
        return [*({"type": "image"} for _ in turn.images), {"type": "text", "text": turn.text}]

    def _generate(self, prompts: list[str], images: list[list[Any]]) -> list[str]:
        import torch

        settings, tokenizer = self.settings, self._tokenizer
        more: dict[str, Any] = {}
        if any(images):
            more["images"] = [[image.open() for image in row] for row in images]
        asked = {"text": prompts, "padding": True, "return_tensors": "pt", "add_special_tokens": False, **more}
        inputs = self._processor(**asked).to(self._model.device)
        how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        with torch.inference_mode(), torch.random.fork_rng(enabled=bool(settings.temperature)):
            if settings.temperature:
                torch.manual_seed(derive(settings.seed, "judge", prompts[0]))
                how = {"do_sample": True, "temperature": settings.temperature, "top_k": 0, "top_p": 1.0}
            out = self._model.generate(
                **inputs, max_new_tokens=settings.max_new_tokens, pad_token_id=tokenizer.pad_token_id, **how
            )
        new = out[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


@lru_cache(maxsize=1)
def _weights(folder: str, sees: bool, dtype: str, device: str) -> Any:
    """The model, loaded once for all judges of a run that ask it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model: Any = kind.from_pretrained(folder, dtype=dtype if dtype == "auto" else getattr(torch, dtype))
    return model.to(device).eval()


class _explained:
    """Turns what transformers raises about a model that it cannot find or read into a UserError."""

    def __init__(self, model: str):
        self.model = model

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (OSError, ValueError, KeyError, ImportError)):
            reason = " ".join(str(error).split())[:160]
            what = "is no model folder" if Path(self.model).is_absolute() else "cannot be loaded"
            raise UserError(
                f"backend.model: {self.model} {what} ({reason}).\nGive a folder with config.json, or a hub name."
            ) from error
