"""Idefics3 and SmolVLM: tiles of the picture as separate rows, told apart by marks in the text."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from . import _tiny
from .base import Family, Picture

MARKS = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", "<|im_start|>"]


class Idefics3(Family):
    """Idefics3ForConditionalGeneration: pixel_values (1, tile, channel, height, width), the tiles of all pictures.

    The model flattens texts and tiles before anything else, so a batch is one long row and no tile is padding.
    """

    types = ("idefics3", "smolvlm")
    tower_path = "model.vision_model"
    projector_path = "model.connector"
    language_path = "model.text_model"

    def picture(self, processor: Any, image: Any) -> Picture:
        """Tiles as the first axis."""
        made = super().picture(processor, image)
        return Picture({name: tensor[0] for name, tensor in made.tensors.items()}, made.ids)

    def joined(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        """All tiles in one row."""
        return {name: tensor[None] for name, tensor in super().joined(pictures).items()}

    def features(self, model: nn.Module, pictures: Sequence[Picture]) -> list[Tensor]:
        """The tower's last hidden state, (tile, token, width) each; the model masks padded pixels itself."""
        weight = self.tower_parameters(model)[0]
        given = {name: tensor.to(weight.device) for name, tensor in self.joined(pictures).items()}
        made = model.get_image_features(**given).last_hidden_state  # type: ignore[operator]
        return list(made.split([len(picture.tensors[self.pixels]) for picture in pictures]))

    def stand_in(self, features: Sequence[Tensor]) -> Tensor:
        """(1, tile, 1, token, width): the model asks for five axes."""
        return super().stand_in(features)[None, :, None]

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """An output that holds the last hidden state."""
        return SimpleNamespace(last_hidden_state=features[:, 0])


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
    )

    sizes = _tiny.sized(architecture, vision={**_tiny.VISION, "image_size": 28, "patch_size": 7}, text={})
    rows = [f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7)]
    tk = _tiny.tokenizer("<end_of_utterance>", [*MARKS, *rows])
    side, patch, scale = sizes["vision"]["image_size"], sizes["vision"]["patch_size"], 2
    config = Idefics3Config(
        vision_config=sizes["vision"], scale_factor=scale, image_token_id=tk.convert_tokens_to_ids("<image>"),
        pad_token_id=tk.pad_token_id,  # type: ignore[call-arg]  # every configuration knows it
        text_config={"model_type": "llama", "vocab_size": len(tk), **_tiny.special_ids(tk), **sizes["text"]},
    )  # fmt: skip
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 2 * side}, max_image_size={"longest_edge": side}, do_image_splitting=True
        ),
        tokenizer=tk, image_seq_len=(side // patch) ** 2 // scale**2,
        chat_template=_tiny.chat(
            "{role}: ", "<end_of_utterance>\n", "<image>", head="<|im_start|>",
            roles={"user": "User", "assistant": "Assistant", "system": "System"},
        ),
    )  # fmt: skip
    return Idefics3ForConditionalGeneration(config), processor
