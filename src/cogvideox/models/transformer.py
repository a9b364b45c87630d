"""Expert transformer: one attention over text and video tokens, separate adaptive norms per modality.

Paper: CogVideoX (arXiv 2408.06072), section 2.2 "Expert Transformer". The packed core is `ExpertTransformer.embed`,
`run_blocks` and `head`; `forward` and `forward_packed` are thin faces of it. Parameter names are those of published
files.

Axes: B batch, S segments, C channels, T latent frames, H W latent rows and columns, L text tokens, N tokens, D width,
K heads, d channels of a head, E width of the timestep embedding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from cogvideox.component_files import load_component, save_component
from cogvideox.configs import ActivationName, TransformerConfig
from cogvideox.models.activations import ACTIVATIONS
from cogvideox.models.attention import AttentionBackend, attention, choose_backend
from cogvideox.models.expert_norm import ExpertNorm, Modulation, OutputNorm, gated_residual
from cogvideox.models.linear import GeluForm, prepare_linear
from cogvideox.models.patch_embedding import PatchEmbedding, token_grid, unpatchify
from cogvideox.models.reused_memory import RESULT_BYTES, computes_in_place
from cogvideox.models.rotary import rotary_table, rotate
from cogvideox.models.sequence_layout import SequenceLayout
from cogvideox.quantization import Quantization

DEFAULT_OFFSET = 2.0
"""What the published 1.5 image-to-video model is always given."""


@dataclass(frozen=True)
class Segment:
    """One sample of a pack."""

    latents: Tensor
    """(C, T, H, W)."""
    text: Tensor
    """(L, text_embed_dim), padded to ``max_text_seq_length``."""
    train_timestep: Tensor
    """() in 0..999."""
    image_latents: Tensor | None = None
    """(C, T, H, W), concatenated to the latents' channels; only for image-to-video models."""
    offset: Tensor | None = None
    """(), as for `ExpertTransformer.forward`."""


class ExpertTransformer(nn.Module):
    """Predicts the velocity of noisy latents from text and timestep."""

    def __init__(self, config: TransformerConfig) -> None:
        """Build with random weights (see `_initialize`)."""
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        """Recompute block activations in the backward pass: less memory, about a third more time."""
        self.attention_backend: AttentionBackend | None = None
        """None chooses by machine and size (`cogvideox.models.attention.choose_backend`)."""

        self.patch_embed = PatchEmbedding(config)
        self.embedding_dropout = nn.Dropout(config.dropout)
        self.time_embedding = TimestepEmbedding(config.width, config.time_embed_dim, config.timestep_activation_fn)
        if config.ofs_embed_dim is not None:
            self.ofs_embedding = TimestepEmbedding(
                config.ofs_embed_dim, config.ofs_embed_dim, config.timestep_activation_fn
            )
        self.transformer_blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.num_layers))
        is_affine = config.norm_elementwise_affine
        self.norm_final = nn.LayerNorm(config.width, config.norm_eps, elementwise_affine=is_affine)
        self.norm_out = OutputNorm(config.time_embed_dim, config.width, config.norm_eps, is_affine)
        num_latents = config.patch_size**2 * (config.patch_size_t or 1)
        self.proj_out = nn.Linear(config.width, num_latents * config.num_output_channels)
        self._initialize()

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        variant: str | None = None,
        quantization: Quantization | None = None,
    ) -> Self:
        """Load a checkpoint directory or its ``transformer/`` folder; ``variant`` is a precision's name, as in "fp16".

        Raises ValueError on a damaged or foreign one.
        """
        return load_component(
            directory,
            "transformer",
            cls,
            TransformerConfig,
            device=device,
            dtype=dtype,
            variant=variant,
            quantization=quantization,
            # A model saved with fused projections holds them beside the separate ones.
            is_ignored=lambda key: ".attn1.to_qkv." in key,
        )

    def save(self, directory: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and weights, in ``dtype`` if given, as a checkpoint's ``transformer/`` folder."""
        save_component(self, directory, "CogVideoXTransformer3DModel", dtype=dtype)

    def set_positions(self, config: TransformerConfig) -> None:
        """Take another native size and scale of positions, with the same weights (progressive training).

        Raises:
            ValueError: ``config`` differs in anything else.
        """
        same = ("sample_height", "sample_width", "sample_frames", "spatial_interpolation_scale")
        if replace(config, **{name: getattr(self.config, name) for name in same}) != self.config:
            raise ValueError(f"config: expected changes of {', '.join(same)} alone, got {config}")
        self.config = self.patch_embed.config = config

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.proj_out.weight.dtype

    def forward(
        self,
        latents: Tensor,
        text: Tensor,
        train_timestep: Tensor,
        *,
        image_latents: Tensor | None = None,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Predict the velocity of a batch of equal sizes.

        Args:
            latents: (B, C, T, H, W), noisy, scaled; T, H and W are multiples of the patch size.
            text: (B, L, text_embed_dim), padded to ``config.max_text_seq_length``.
            train_timestep: (B,) in 0..999.
            image_latents: (B, C, T, H, W), concatenated to the latents' channels; only for image-to-video models.
            offset: (B,), only for models with ``config.ofs_embed_dim``; `DEFAULT_OFFSET` if None.

        Returns:
            The velocity (B, C, T, H, W).

        Raises:
            ValueError: an argument has the wrong shape.
        """
        if train_timestep.shape != latents.shape[:1]:
            expected = tuple(latents.shape[:1])
            raise ValueError(f"train_timestep: expected shape {expected}, got {tuple(train_timestep.shape)}")
        tokens, layout = self.embed(latents, text, image_latents)
        return self._predict(tokens, layout, self.modulation(train_timestep, offset))[0]

    def forward_packed(self, segments: Sequence[Segment]) -> list[Tensor]:
        """Predict the velocity (C, T, H, W) of samples of any sizes, none of which sees another.

        Raises:
            ValueError: there is no segment, or one has the wrong shape.
        """
        if not segments:
            raise ValueError("segments: expected at least one, got none")
        tokens, layout = self.embed_packed(segments)
        train_timestep = torch.stack([segment.train_timestep for segment in segments])
        offset = _stack_offsets(segments)
        return [
            velocity
            for group in self._predict(tokens, layout, self.modulation(train_timestep, offset))
            for velocity in group
        ]

    def _predict(self, tokens: Tensor, layout: SequenceLayout, modulation: Modulation) -> list[Tensor]:
        rotary = rotary_table(self.config, layout, tokens.device)
        tokens = self.run_blocks(tokens, layout, modulation, rotary)
        return self.head(tokens, layout, modulation)

    def embed(
        self, latents: Tensor, text: Tensor, image_latents: Tensor | None = None
    ) -> tuple[Tensor, SequenceLayout]:
        """Turn a batch (arguments as for `forward`) into tokens (B, N, D), text first."""
        if image_latents is not None:
            latents = torch.cat([latents, image_latents], dim=1)
        self._check_inputs(latents, text)
        tokens = self.embedding_dropout(self.patch_embed(latents, text))
        grids = [token_grid(self.config, latents.shape)] * len(latents)
        return tokens, SequenceLayout.of_grids(self.config.max_text_seq_length, grids)

    def embed_packed(self, segments: Sequence[Segment]) -> tuple[Tensor, SequenceLayout]:
        """Turn segments into tokens (1, N_total, D), or (S, N, D) if all are equally long."""
        embedded = [
            self.embed(
                torch.stack([segment.latents for segment in run]),
                torch.stack([segment.text for segment in run]),
                _stack_images(run),
            )
            for run in (list(run) for _, run in groupby(segments, key=_shape_of))
        ]
        grids = [grid for _, layout in embedded for grid in layout.grids_THW]
        layout = SequenceLayout.of_grids(self.config.max_text_seq_length, grids)
        return layout.as_batch(torch.cat([tokens.flatten(0, 1) for tokens, _ in embedded])[None]), layout

    def modulation(self, train_timestep: Tensor, offset: Tensor | None = None) -> Modulation:
        """Return shift, scale and gate of all layers for timesteps (S,) and, in models that have one, offsets (S,).

        Raises:
            ValueError: an offset is given to a model that has none.
        """
        embedding = self.time_embedding(self._sinusoid(train_timestep, self.config.width))
        if self.config.ofs_embed_dim is not None:
            if offset is None:
                offset = torch.full_like(train_timestep, DEFAULT_OFFSET, dtype=torch.float32)
            embedding = embedding + self.ofs_embedding(self._sinusoid(offset, self.config.ofs_embed_dim))
        elif offset is not None:
            raise ValueError("offset: expected None because config.ofs_embed_dim is null, got a tensor")
        embedding = functional.silu(embedding)
        norm1 = tuple(block.norm1.modulation(embedding) for block in self._blocks())
        norm2 = tuple(block.norm2.modulation(embedding) for block in self._blocks())
        return Modulation(norm1, norm2, self.norm_out.modulation(embedding))

    def run_blocks(
        self,
        tokens: Tensor,
        layout: SequenceLayout,
        modulation: Modulation,
        rotary: Tensor | None,
        start: int = 0,
        stop: int | None = None,
    ) -> Tensor:
        """Run blocks ``start`` to ``stop`` on tokens and return new tokens of the same shape.

        Args:
            tokens: (S, N, D) or (1, N_total, D), from `embed`, `embed_packed` or earlier blocks.
            layout: from where the tokens come.
            modulation: of one timestep, or of one per segment.
            rotary: from `cogvideox.models.rotary.rotary_table`.
            start: first block.
            stop: block before which to stop; None runs to the end.
        """
        blocks = self._blocks()
        for index in range(start, len(blocks) if stop is None else stop):
            arguments = (
                tokens,
                layout,
                modulation.norm1[index],
                modulation.norm2[index],
                rotary,
                self.attention_backend,
            )
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(blocks[index], *arguments, use_reentrant=False)
            else:
                tokens = blocks[index](*arguments)
        return tokens

    def head(self, tokens: Tensor, layout: SequenceLayout, modulation: Modulation) -> list[Tensor]:
        """Turn tokens after the last block into velocities.

        Returns:
            One tensor (S, C, T, H, W) where all segments have the same grid, else one (1, C, T, H, W) per segment.
        """
        videos = [self.norm_final(video) for video in layout.split_experts(tokens)[1::2]]
        if layout.is_batch:
            patches = self.proj_out(self.norm_out(videos[0], modulation.norm_out))
            if len(set(layout.grids_THW)) == 1:
                return [unpatchify(patches, layout.grids_THW[0], self.config)]
            by_segment = patches.split(1)
        else:
            rows = modulation.norm_out.expand(len(layout.grids_THW), -1, -1).split([len(video) for video in videos])
            runs = [self.proj_out(self.norm_out(video, row)) for video, row in zip(videos, rows, strict=True)]
            by_segment = [patches for run in runs for patches in run.split(1)]
        pairs = zip(by_segment, layout.grids_THW, strict=True)
        return [unpatchify(patches, grid, self.config) for patches, grid in pairs]

    def _blocks(self) -> "list[TransformerBlock]":
        return cast("list[TransformerBlock]", list(self.transformer_blocks))

    def _sinusoid(self, values: Tensor, width: int) -> Tensor:
        """Return (S, width) in the parameters' dtype: cosines and sines of values (S,) at geometric frequencies."""
        half = width // 2
        exponents = torch.arange(half, dtype=torch.float32, device=values.device)
        # Multiplied before it is divided, as published: at timestep 999 float32 shows the difference.
        frequencies = torch.exp(-math.log(10_000.0) * exponents / (half - self.config.freq_shift))
        angles = values.float()[:, None] * frequencies
        halves = [angles.cos(), angles.sin()] if self.config.flip_sin_to_cos else [angles.sin(), angles.cos()]
        return torch.cat(halves, dim=-1).to(self.time_embedding.linear_1.weight.dtype)

    def _check_inputs(self, latents: Tensor, text: Tensor) -> None:
        config = self.config
        if latents.ndim != 5 or latents.shape[1] != config.in_channels:
            expected = f"(B, {config.in_channels}, T, H, W), image_latents included"
            raise ValueError(f"latents: expected shape {expected}, got {tuple(latents.shape)}")
        patch_sizes = {"length": config.patch_size_t or 1, "height": config.patch_size, "width": config.patch_size}
        for (name, multiple), size in zip(patch_sizes.items(), latents.shape[2:], strict=True):
            if size % multiple:
                raise ValueError(f"latents: expected a {name} that is a multiple of {multiple}, got {size}")
        native_HW = (config.sample_height, config.sample_width)
        if config.use_learned_positional_embeddings and latents.shape[3:] != native_HW:
            raise ValueError(
                f"latents: this model's learned positions fit only its native size of {native_HW[0]}x{native_HW[1]} "
                f"latents, got {latents.shape[3]}x{latents.shape[4]}"
            )
        expected_text = (len(latents), config.max_text_seq_length, config.text_embed_dim)
        if text.shape != expected_text:
            raise ValueError(
                f"text: expected shape {expected_text}, padded to max_text_seq_length, got {tuple(text.shape)}"
            )

    @torch.no_grad()
    def _initialize(self) -> None:
        """Draw the initial weights, as DiT does except for the output projection.

        - Modulation layers start at zero: every gate is 0, so a block starts as the identity, which trains stably at
          depth.
        - Projections, the patch convolution among them (a linear layer on flattened patches), start Xavier uniform,
          which keeps the variance of activations; biases start at 0.
        - The timestep MLP starts normal with deviation 0.02.
        - DiT starts the output projection at zero too. Here it is Xavier uniform, so that gradients reach the blocks
          from the first step on; its bias is 0, so the first prediction has no constant part.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, TimestepEmbedding):
                nn.init.normal_(module.linear_1.weight, std=0.02)
                nn.init.normal_(module.linear_2.weight, std=0.02)
            if isinstance(module, ExpertNorm | OutputNorm):
                nn.init.zeros_(module.linear.weight)


class TransformerBlock(nn.Module):
    """Attention and a feed-forward layer over the joint tokens, each between an expert norm and a gated residual."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        is_affine = config.norm_elementwise_affine
        self.norm1 = ExpertNorm(config.time_embed_dim, config.width, config.norm_eps, is_affine)
        self.attn1 = SelfAttention(config)
        self.norm2 = ExpertNorm(config.time_embed_dim, config.width, config.norm_eps, is_affine)
        self.ff = FeedForward(config)

    def forward(
        self,
        tokens: Tensor,
        layout: SequenceLayout,
        modulation1: Tensor,
        modulation2: Tensor,
        rotary: Tensor | None,
        attention_backend: AttentionBackend | None,
    ) -> Tensor:
        """Return tokens of the same shape; modulations are (S, 6, D) of norm1 and norm2."""
        update = self.attn1(self.norm1(tokens, modulation1, layout), layout, rotary, attention_backend)
        tokens = gated_residual(tokens, update, modulation1, layout)
        update = self.ff(self.norm2(tokens, modulation2, layout))
        return gated_residual(tokens, update, modulation2, layout)


class SelfAttention(nn.Module):
    """Attention with normalized queries and keys and rotary positions."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, head_dim = config.width, config.attention_head_dim
        self.head_dim = head_dim
        self.to_q = nn.Linear(width, width, bias=config.attention_bias)
        self.to_k = nn.Linear(width, width, bias=config.attention_bias)
        self.to_v = nn.Linear(width, width, bias=config.attention_bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])  # a list for the published name "to_out.0"
        self.norm_q = nn.LayerNorm(head_dim, eps=1e-6)
        self.norm_k = nn.LayerNorm(head_dim, eps=1e-6)

    def forward(
        self, x: Tensor, layout: SequenceLayout, rotary: Tensor | None, backend: AttentionBackend | None
    ) -> Tensor:
        """Return the attended tokens (S, N, D)."""
        query, key, value = (
            prepare_linear(project, x)(x).unflatten(-1, (-1, self.head_dim))
            for project in (self.to_q, self.to_k, self.to_v)
        )
        query, key = self.norm_q(query), self.norm_k(key)
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        backend = backend or choose_backend(query, self._max_score)
        attended = attention(query, key, value, layout, backend=backend).flatten(-2)
        return prepare_linear(self.to_out[0], attended)(attended)

    @torch.no_grad()
    def _max_score(self) -> float:
        """Return a bound of all attention scores: normed vectors are sqrt(d) long, and rotations change no length."""
        bound = self.head_dim**-0.5
        for norm in (self.norm_q, self.norm_k):
            bound *= float(norm.weight.abs().max()) * self.head_dim**0.5 + float(norm.bias.norm())
        return bound


class FeedForward(nn.Module):
    """Two linear layers, four times the width between them, with GELU (its tanh form in the published models)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        dropout = nn.Dropout(config.dropout)
        self.net = nn.Sequential(
            GeluProjection(width, 4 * width, config.activation_fn), dropout, nn.Linear(4 * width, width), dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape (..., D); without gradients, a few thousand tokens at a time."""
        if self.training or not computes_in_place(x):
            return self.net(x)
        up, down = cast(GeluProjection, self.net[0]).prepare(x), prepare_linear(self.net[2], x)
        step = max(1, RESULT_BYTES // (4 * x.shape[-1] * x.element_size()))
        return torch.cat([down(up(block)) for block in x.flatten(0, -2).split(step)]).view_as(x)


class GeluProjection(nn.Module):
    """A linear layer and its activation; a module of its own for the published name "net.0.proj"."""

    def __init__(self, in_channels: int, out_channels: int, activation: str) -> None:
        super().__init__()
        self.approximate: GeluForm = "tanh" if activation == "gelu-approximate" else "none"
        self.proj = nn.Linear(in_channels, out_channels)

    def prepare(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return this layer as the function that is fastest for (..., in_channels)."""
        return prepare_linear(self.proj, x, gelu=self.approximate)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out_channels)."""
        return self.prepare(x)(x)


class TimestepEmbedding(nn.Module):
    """Sinusoids of the timestep to the embedding that drives all modulation."""

    def __init__(self, in_channels: int, embed_dim: int, activation: ActivationName) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.linear_1 = nn.Linear(in_channels, embed_dim)
        self.linear_2 = nn.Linear(embed_dim, embed_dim)

    def forward(self, sinusoids: Tensor) -> Tensor:
        """Return (S, E)."""
        return self.linear_2(self.activation(self.linear_1(sinusoids)))


def _shape_of(segment: Segment) -> tuple[torch.Size, bool]:
    return segment.latents.shape, segment.image_latents is None


def _stack_images(segments: Sequence[Segment]) -> Tensor | None:
    images = [segment.image_latents for segment in segments if segment.image_latents is not None]
    return torch.stack(images) if images else None


def _stack_offsets(segments: Sequence[Segment]) -> Tensor | None:
    offsets = [segment.offset for segment in segments]
    given = [offset for offset in offsets if offset is not None]
    if given and len(given) < len(offsets):
        raise ValueError("segments: expected an offset in all of them or in none")
    return torch.stack(given) if given else None
