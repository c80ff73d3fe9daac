"""Second difference attack (PD²): the answer among the tokens whose rise bends most between layers."""

from pydantic import Field
from torch import Tensor

from ._lens import LensReadout, LensSettings


class SecondDifference(LensReadout):
    """Candidates are the k largest and k smallest entries of the second difference of p over the chosen states.

    Source: vlm_unlok_offside_med 1.5 (PD², flag `hess`; LLaVA-1.5-7B: states 26 to 32; k = 2 at both ends for B = 20,
    the released command has k = 4). Differs from the paper: see LensSettings.reference."""

    paper = "Patil et al. 2025 (UnLOK-VQA)"
    suite = "vqa"
    suite_settings = {"k": 1}
    usual = 7

    class Config(LensSettings):
        """Defaults of an equal budget of 20."""

        k: int = Field(2, ge=1)
        bottom: bool = True

    def rows(self, p: Tensor) -> Tensor:
        """Second differences over the chosen states."""
        return p.diff(dim=1).diff(dim=1)
