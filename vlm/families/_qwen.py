"""What Qwen2-VL, Qwen2.5-VL and Qwen3-VL share: one long row of patches, grids, token types, a tower that projects."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from . import _tiny
from .base import Family, Picture

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


class Qwen(Family):
    """pixel_values (patch, values) of all pictures in a row, image_grid_thw for whose they are, mm_token_type_ids (1 at
    their tokens), which place them in the rotary grid."""

    tower_path = "model.visual"
    projector_path = "model.visual.merger"
    ahead = False  # places come from grids, not from the mask

    def text(self, ids: Sequence[int], start: int, picture: Picture | None) -> dict[str, Tensor]:
        """mm_token_type_ids of one text."""
        kinds = torch.zeros(len(ids), dtype=torch.int)
        if picture is not None:
            kinds[torch.tensor(ids) == picture.ids[0]] = 1
        return {"mm_token_type_ids": kinds}

    def continued(self, model: Any, first: Mapping[str, Tensor], owner: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Places after the picture, which takes fewer of them than it has tokens."""
        before = first["input_ids"].shape[1]
        width = mask.shape[1] - before
        if "image_grid_thw" not in first:  # texts alone are counted from the batch's left edge, padding included
            return {"position_ids": torch.arange(before, before + width, device=mask.device).expand(3, len(mask), -1)}
        places = (mask.cumsum(-1) - 1)[:, -width:] + model.model.rope_deltas[owner]
        return {"position_ids": places.expand(3, -1, -1)}

    # Kept features are what the tower's own mergers read: (patch, width of all of them), in the merger's order.
    def features(self, model: nn.Module, pictures: Sequence[Picture]) -> list[Tensor]:
        """Inputs of the projecting layers, side by side; the first axis is the picture's patches."""
        given = self.joined(pictures)
        tower, weight = self.tower(model), self.tower_parameters(model)[0]
        read: dict[str, Tensor] = {}
        layers = {path: model.get_submodule(path) for path in self.projector_paths(model)}
        hooks = [
            layer.register_forward_pre_hook(lambda _, values, path=path: read.__setitem__(path, values[0]))
            for path, layer in layers.items()
        ]
        try:
            tower(
                given[self.pixels].to(weight.device, weight.dtype), grid_thw=given["image_grid_thw"].to(weight.device)
            )
        finally:
            for hook in hooks:
                hook.remove()
        made = torch.cat([read[path] for path in layers], dim=-1)
        return list(made.split([len(picture.tensors[self.pixels]) for picture in pictures]))

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """The projecting layers applied to what they read."""
        layers = [model.get_submodule(path) for path in self.projector_paths(model)]
        parts = [part.contiguous() for part in features.chunk(len(layers), dim=-1)]  # the mergers view them anew
        made = [layer(part) for layer, part in zip(layers, parts, strict=True)]
        return SimpleNamespace(pooler_output=made[0], deepstack_features=made[1:])


def build(
    architecture: Mapping[str, Any],
    config: Callable[[dict[str, Any], dict[str, int]], Any],
    vision: Mapping[str, Any],
    classes: tuple[Any, Any],
    text: Mapping[str, Any] | None = None,
) -> tuple[Any, Any]:
    """A small random model; `config` makes its configuration of sizes and token ids; classes: model, processor."""
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    sizes = _tiny.sized(architecture, vision=vision, text=text or {})
    tk = _tiny.tokenizer("<|im_end|>", SPECIAL)
    ids = dict(zip(("start", "end", "image", "video"), tk.convert_tokens_to_ids(SPECIAL[2:]), strict=True))
    sizes["text"] |= {"vocab_size": len(tk), **_tiny.special_ids(tk)}
    tokens = {
        "image_token_id": ids["image"], "video_token_id": ids["video"],
        "vision_start_token_id": ids["start"], "vision_end_token_id": ids["end"],
    }  # fmt: skip
    patch, merge = sizes["vision"]["patch_size"], sizes["vision"]["spatial_merge_size"]
    grid = {"patch_size": patch, "merge_size": merge, "temporal_patch_size": sizes["vision"]["temporal_patch_size"]}
    side = 2 * patch * merge
    pixels = {"shortest_edge": side * side, "longest_edge": 4 * side * side}
    processor = classes[1](
        image_processor=Qwen2VLImageProcessor(**grid, size=pixels), tokenizer=tk,
        video_processor=Qwen2VLVideoProcessor(**grid),
        chat_template=_tiny.chat(
            "<|im_start|>{role}\n", "<|im_end|>\n", "<|vision_start|><|image_pad|><|vision_end|>"
        ),
    )  # fmt: skip
    return classes[0](config(sizes, tokens)), processor
