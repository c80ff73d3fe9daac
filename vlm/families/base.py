"""Family: what a handle must know of one kind of image-text-to-text model beside what transformers says for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Picture:
    """A picture as the model's processor sees it: tensors by name (first axis: the picture's tiles or patches), and the
    token ids that stand for it in the text."""

    tensors: Mapping[str, Tensor]
    ids: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Family:
    """The common case: a tower whose output has one row a picture, a projector, a language model (LLaVA)."""

    types: ClassVar[tuple[str, ...]] = ()  # config.model_type
    tower_path: ClassVar[str] = "model.vision_tower"
    projector_path: ClassVar[str] = "model.multi_modal_projector"
    language_path: ClassVar[str] = "model.language_model"
    separable: ClassVar[bool] = True  # the tower's output can be kept picture by picture
    mixed: ClassVar[bool] = True  # items with and without a picture may lie in one batch

    def tower(self, model: nn.Module) -> nn.Module:
        """The vision tower (what is frozen by default)."""
        return model.get_submodule(self.tower_path)

    def projector(self, model: nn.Module) -> nn.Module:
        """The part between tower and language model."""
        return model.get_submodule(self.projector_path)

    def language(self, model: nn.Module) -> nn.Module:
        """The language model."""
        return model.get_submodule(self.language_path)

    def lora_targets(self, model: nn.Module) -> str:
        """Regular expression over names of the linear layers that adapters go on by default."""
        return rf".*{self.language_path.replace('.', chr(92) + '.')}\..*\.({'|'.join(LINEAR)})"

    def placeholder(self, processor: Any) -> str:
        """The text that stands for one picture before it is expanded."""
        return processor.image_token

    def picture(self, processor: Any, image: Any) -> Picture:
        """The picture's tensors and the ids that its placeholder expands to."""
        made = processor(text=self.placeholder(processor), images=image, return_tensors="pt", add_special_tokens=False)
        ids = made.pop("input_ids")[0].tolist()
        made.pop("attention_mask", None)
        return Picture({name: tensor for name, tensor in made.items() if isinstance(tensor, Tensor)}, tuple(ids))

    def placeholder_id(self, processor: Any) -> int:
        """The id of the placeholder in a tokenised prompt."""
        return processor.tokenizer.convert_tokens_to_ids(self.placeholder(processor))

    def text(self, ids: Sequence[int], picture: Picture | None) -> dict[str, Tensor]:
        """Further tensors over the tokens of one expanded text, (token,) each, padded with zeros by the handle."""
        return {}

    def batch(self, pictures: Sequence[Picture | None], ids: Tensor, attention: Tensor) -> dict[str, Tensor]:
        """Tensors of the pictures of a batch, in the order in which their tokens occur."""
        present = [picture for picture in pictures if picture is not None]
        if not present:
            return {}
        return {name: torch.cat([p.tensors[name] for p in present]) for name in present[0].tensors}

    # ---- outputs of a frozen tower --------------------------------------------------------------------------------
    pixels: ClassVar[str] = "pixel_values"

    def features(self, model: nn.Module, pixels: Tensor) -> Float[Tensor, "picture token width"]:
        """What the projector's side reads of the tower for these pictures."""
        raise NotImplementedError

    def served(self, model: nn.Module, features: Tensor) -> Any:
        """A tower's output made of kept features, as the model's own forward pass reads it."""
        raise NotImplementedError
