"""Probability delta attack: the answer among the tokens that some layer raises or lowers most."""

from pydantic import Field
from torch import Tensor

from ._lens import LensReadout, LensSettings


class ProbabilityDelta(LensReadout):
    """Candidates are the k largest and k smallest entries of p_{l+1} − p_l over neighbouring chosen states.

    Source: vlm_unlok_offside_med 1.5 (PD; LLaVA-1.5-7B: states 27 to 32, k = 2 at both ends, so B = 20). Differs from
    the paper: see LensSettings.reference.
    """

    paper = "Patil et al. 2025 (UnLOK-VQA); Patil et al. 2024 (ICLR)"
    suite = "vqa"
    suite_settings = {"k": 1}
    usual = 6

    class Config(LensSettings):
        """Defaults of the reference."""

        k: int = Field(2, ge=1)
        bottom: bool = True

    def rows(self, p: Tensor) -> Tensor:
        """First differences over the chosen states."""
        return p.diff(dim=1)
