"""Mllama (Llama 3.2 Vision): pictures enter by cross-attention, whose mask follows the picture's place in the text."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from . import _tiny
from .base import Family, Picture

MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|image|>", "<|python_tag|>"]


class Mllama(Family):
    """MllamaForConditionalGeneration: pixel_values (picture, 1, tile, …) with aspect_ratio_ids and aspect_ratio_mask.

    A text without a picture skips the cross-attention; beside one with a picture it would attend to all of a blank
    picture instead (the model's full rows are unmasked), so the two never share a forward pass.
    """

    types = ("mllama",)
    tower_path = "model.vision_model"
    mixed = False
    ahead = False  # what a token sees of the picture is a tensor over all tokens

    def picture(self, processor: Any, image: Any) -> Picture:
        """Its tiles, padded to the processor's maximum; one token stands for it."""
        made = processor.image_processor(images=image, return_tensors="pt")
        tiles = made.pop("num_tiles")
        place = self.placeholder_id(processor)
        return Picture(dict(made), (place,), {"tiles": int(tiles[0][0])})

    def batch(self, pictures: Sequence[Picture | None], ids: Tensor, attention: Tensor) -> dict[str, Tensor]:
        """And cross_attention_mask (row with a picture, token, 1, tile): 1 from the picture's token on."""
        made = super().batch(pictures, ids, attention)
        rows = [(row, picture) for row, picture in enumerate(pictures) if picture is not None]
        if not rows:
            return made
        mask = torch.zeros(len(rows), ids.shape[1], 1, made["aspect_ratio_mask"].shape[-1], dtype=torch.long)
        for k, (row, picture) in enumerate(rows):
            since = (ids[row] == picture.ids[0]).long().cumsum(0) * attention[row]
            mask[k, since > 0, 0, : picture.facts["tiles"]] = 1
        return {**made, "cross_attention_mask": mask}

    def continued(self, model: Any, first: Mapping[str, Tensor], owner: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The answer sees the picture as the prompt's last token does."""
        if "cross_attention_mask" not in first:
            return {}
        width = mask.shape[1] - first["input_ids"].shape[1]
        return {"cross_attention_mask": first["cross_attention_mask"][owner, -1:].expand(-1, width, -1, -1)}

    def features(self, model: nn.Module, pictures: Sequence[Picture]) -> list[Tensor]:
        """The tower's output, (1, 1, tile, token, width) each."""
        tower, weight = self.tower(model), self.tower_parameters(model)[0]
        given = {name: tensor.to(weight.device) for name, tensor in self.joined(pictures).items()}
        given[self.pixels] = given[self.pixels].to(weight.dtype)
        return list(tower(**given).last_hidden_state.split(1))

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """An output that holds it."""
        return SimpleNamespace(last_hidden_state=features)


def tiny(architecture: Mapping[str, Any]) -> tuple[Any, Any]:
    """A small random model and its processor; weights come from torch's global generator."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaImageProcessor, MllamaProcessor
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig

    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": 2, "image_size": 28, "patch_size": 14, "max_num_tiles": 4,
        "intermediate_layers_indices": [0],
    }  # fmt: skip
    sizes = _tiny.sized(architecture, vision=vision, text={"num_hidden_layers": 3, "cross_attention_layers": [1]})
    tk = _tiny.tokenizer("<|eot_id|>", MARKS, start="<|begin_of_text|>")
    v = sizes["vision"]
    tiles = v["max_num_tiles"]
    v["supported_aspect_ratios"] = [[w, h] for w in range(1, tiles + 1) for h in range(1, tiles + 1) if w * h <= tiles]
    v["vision_output_dim"] = v["hidden_size"] * (1 + len(v["intermediate_layers_indices"]))
    config = MllamaConfig(
        vision_config=MllamaVisionConfig(**v),
        text_config=MllamaTextConfig(vocab_size=len(tk), **_tiny.special_ids(tk), **sizes["text"]),
        image_token_index=tk.convert_tokens_to_ids("<|image|>"),
    )  # fmt: skip
    processor = MllamaProcessor(
        image_processor=MllamaImageProcessor(
            size={"height": v["image_size"], "width": v["image_size"]}, max_image_tiles=tiles
        ),
        tokenizer=tk,
        chat_template=_tiny.chat(
            "<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>", "<|image|>", head="{{ bos_token }}"
        ),
    )
    model = MllamaForConditionalGeneration(config)
    for name, gate in model.named_parameters():
        if name.endswith(("attn_gate", "mlp_gate")):  # zero gates would hide the picture
            nn.init.ones_(gate)
    return model, processor
