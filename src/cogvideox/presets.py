"""Named model variants as values, torch-free; a variant is written as its difference from another one.

Sources: published config files (5b, 2b, i2v, 1.5); paper table 6 where it does not contradict them.
"""

from dataclasses import dataclass, replace
from typing import Literal

from cogvideox.configs import AutoencoderConfig, NoiseScheduleConfig, TransformerConfig

PresetName = Literal["tiny", "2b", "5b", "5b-i2v", "1.5-5b", "1.5-5b-i2v"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """All parts of a variant but its text encoder."""

    transformer: TransformerConfig
    autoencoder: AutoencoderConfig
    noise_schedule: NoiseScheduleConfig
    scheduler_class: Literal["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"]


_2B = Preset(
    transformer=TransformerConfig(),
    autoencoder=AutoencoderConfig(),
    noise_schedule=NoiseScheduleConfig(snr_shift_scale=3.0),
    scheduler_class="CogVideoXDDIMScheduler",
)
_5B = Preset(
    transformer=replace(_2B.transformer, num_attention_heads=48, num_layers=42, use_rotary_positional_embeddings=True),
    autoencoder=replace(_2B.autoencoder, scaling_factor=0.7),
    noise_schedule=NoiseScheduleConfig(snr_shift_scale=1.0),
    scheduler_class="CogVideoXDPMScheduler",
)
_5B_I2V = replace(
    _5B,
    transformer=replace(_5B.transformer, in_channels=32, use_learned_positional_embeddings=True),
    scheduler_class="CogVideoXDDIMScheduler",
)
_1_5_5B = replace(
    _5B,
    transformer=replace(
        _5B.transformer,
        patch_size_t=2,
        patch_bias=False,
        sample_height=300,
        sample_width=300,
        sample_frames=81,
    ),
    autoencoder=replace(_5B.autoencoder, invert_scale_latents=True),
)
_1_5_5B_I2V = replace(_1_5_5B, transformer=replace(_1_5_5B.transformer, in_channels=32, ofs_embed_dim=512))
_TINY = Preset(
    transformer=replace(
        _5B.transformer,
        num_attention_heads=4,
        num_layers=10,
        time_embed_dim=64,
        text_embed_dim=256,
        max_text_seq_length=32,
        sample_height=8,
        sample_width=12,
        sample_frames=17,
    ),
    autoencoder=replace(
        _5B.autoencoder,
        block_out_channels=(16, 32, 96, 128),
        layers_per_block=1,
        norm_num_groups=2,
        sample_height=64,
        sample_width=96,
    ),
    noise_schedule=NoiseScheduleConfig(snr_shift_scale=1.0),
    scheduler_class="CogVideoXDDIMScheduler",
)

PRESETS: dict[PresetName, Preset] = {
    "tiny": _TINY,
    "2b": _2B,
    "5b": _5B,
    "5b-i2v": _5B_I2V,
    "1.5-5b": _1_5_5B,
    "1.5-5b-i2v": _1_5_5B_I2V,
}
