"""Low-rank adapters (LoRA) beside the linear layers of a model: how they are made, and what peft calls them."""

from dataclasses import dataclass

ADAPTER_NAMES = ("adapter_model.safetensors", "adapter_config.json")
ADAPTER = "default"
"""As peft calls an adapter without a name."""


@dataclass(frozen=True, kw_only=True)
class LowRankSettings:
    """Matrices of low rank beside the linear layers of the language model (Hu et al., arXiv 2106.09685)."""

    rank: int = 16
    alpha: float = 32.0
    """Strength: updates count ``alpha / rank`` times."""
    dropout: float = 0.05
    has_mlp: bool = True
    """Adapt the MLPs too, not only the projections of attention."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank: expected at least 1, got {self.rank}")
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"alpha: expected a positive number, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 to below 1, got {self.dropout}")
