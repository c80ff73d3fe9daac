"""Family: what a handle must know of one kind of image-text-to-text model beside what transformers says for all."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

LINEAR = ("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj")

OF_TOKENS = {"attention_mask", "token_type_ids", "mm_token_type_ids"}  # what a processor says of the text


@dataclass(frozen=True)
class Picture:
    """A picture as the model's processor sees it: tensors by name (first axis: the picture's tiles or patches), and the
    token ids that stand for it in the text."""

    tensors: Mapping[str, Tensor]
    ids: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Family(ABC):
    """The common case: a tower whose output has one row a picture, a projector, a language model (LLaVA)."""

    types: ClassVar[tuple[str, ...]] = ()  # config.model_type
    tower_path: ClassVar[str] = "model.vision_tower"
    projector_path: ClassVar[str] = "model.multi_modal_projector"
    language_path: ClassVar[str] = "model.language_model"
    template: ClassVar[str] = "auto"  # named template of a processor without a chat template
    separable: ClassVar[bool] = True  # the tower's output can be kept picture by picture
    mixed: ClassVar[bool] = True  # items with and without a picture may lie in one batch
    ahead: ClassVar[bool] = True  # all but a prompt's last token may pass first: causal, places counted from the mask

    def tower(self, model: nn.Module) -> nn.Module:
        """The vision tower (what is frozen by default)."""
        return model.get_submodule(self.tower_path)

    def projector_paths(self, model: nn.Module) -> list[str]:
        """Names of the layers between tower and language model; they may lie inside the tower."""
        return [self.projector_path]

    def projector(self, model: nn.Module) -> nn.ModuleList:
        """The part between tower and language model."""
        return nn.ModuleList([model.get_submodule(path) for path in self.projector_paths(model)])

    def tower_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """The tower's weights without those of a projector inside it."""
        projector = {id(p) for p in self.projector(model).parameters()}
        return [p for p in self.tower(model).parameters() if id(p) not in projector]

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
        tensors = {name: tensor for name, tensor in made.items() if isinstance(tensor, Tensor)}
        return Picture({name: tensor for name, tensor in tensors.items() if name not in OF_TOKENS}, tuple(ids))

    def placeholder_id(self, processor: Any) -> int:
        """The id of the placeholder in a tokenised prompt."""
        return processor.tokenizer.convert_tokens_to_ids(self.placeholder(processor))

    def text(self, ids: Sequence[int], start: int, picture: Picture | None) -> dict[str, Tensor]:
        """Further tensors over the tokens of one expanded text, (token,) each, padded with zeros by the handle.

        start: where the answer begins (the text's length where there is none).
        """
        return {}

    def batch(self, pictures: Sequence[Picture | None], ids: Tensor, attention: Tensor) -> dict[str, Tensor]:
        """Tensors of the pictures of a batch, in the order in which their tokens occur; rows without one add nothing.

        ids, attention: (batch, token), padded on either side.
        """
        return self.joined([picture for picture in pictures if picture is not None])

    def joined(self, pictures: Sequence[Picture]) -> dict[str, Tensor]:
        """The pictures' own tensors, one after the other."""
        return {
            name: torch.cat([p.tensors[name] for p in pictures]) for name in (pictures[0].tensors if pictures else ())
        }

    def continued(self, model: Any, first: Mapping[str, Tensor], owner: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Further inputs of a forward pass that continues prefixes kept in a cache.

        first: inputs of the prefixes' pass; owner: (row,) whose prefix a row continues; mask: (row, prefix + suffix).
        """
        return {}

    # ---- outputs of a frozen tower --------------------------------------------------------------------------------
    pixels: ClassVar[str] = "pixel_values"

    def features(self, model: nn.Module, pictures: Sequence[Picture]) -> list[Tensor]:
        """What the projector's side reads of the tower for each picture; the first axis is the picture's tiles."""
        pixels = [picture.tensors[self.pixels] for picture in pictures]
        weight = self.tower_parameters(model)[0]
        made = self.encode(model, torch.cat(pixels).to(weight.device, weight.dtype))
        return list(made.split([len(p) for p in pixels]))

    def encode(self, model: nn.Module, pixels: Tensor) -> Float[Tensor, "tile token width"]:
        """The tower's output for rows of `pixels`, where tiles need nothing else; other families give `features`."""
        raise NotImplementedError(
            f"{type(self).__name__} says neither what its tower makes of tiles (encode) nor of pictures (features); "
            "define one of the two, or set separable = False."
        )

    def stand_in(self, features: Sequence[Tensor]) -> Tensor:
        """Kept features of a batch in the shape in which they pass the model's forward in the place of pixels."""
        return torch.cat(list(features))

    @abstractmethod
    def served(self, model: nn.Module, features: Tensor) -> Any:
        """A tower's output made of kept features, as the model's own forward pass reads it."""
