"""A small random checkpoint, written by diffusers and transformers themselves."""

from pathlib import Path

import torch

TEXT_TOKENS = 24
TRANSFORMER = {
    "num_attention_heads": 4,
    "attention_head_dim": 64,
    "num_layers": 2,
    "time_embed_dim": 32,
    "text_embed_dim": 48,
    "max_text_seq_length": TEXT_TOKENS,
    "sample_height": 4,
    "sample_width": 6,
    "sample_frames": 17,
    "use_rotary_positional_embeddings": True,
}
AUTOENCODER = {
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "block_out_channels": (16, 32, 32, 48),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_height": 32,
    "sample_width": 48,
    "scaling_factor": 0.7,
    "latent_channels": 16,
}


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Move every parameter away from its initial value, so that no layer is the identity or zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def write_random_checkpoint(
    directory: Path,
    *,
    transformer_changes: dict | None = None,
    autoencoder_changes: dict | None = None,
    scheduler: str = "CogVideoXDDIMScheduler",
    pipeline: str = "CogVideoXPipeline",
    **schedule,
) -> Path:
    """Write all components; returns the directory. ``schedule`` are the scheduler's changed fields."""
    import diffusers
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    transformer = CogVideoXTransformer3DModel(**TRANSFORMER | (transformer_changes or {}))
    autoencoder = AutoencoderKLCogVideoX(**AUTOENCODER | (autoencoder_changes or {}))
    for seed, module in enumerate((transformer, autoencoder)):
        randomise(module, seed)
    tokenizer = write_tokenizer(directory / "tokenizer_source")
    text_encoder = T5EncoderModel(T5Config(vocab_size=128, d_model=48, d_kv=12, d_ff=64, num_layers=2, num_heads=4))
    published = {
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "snr_shift_scale": 1.0,
    }
    process = getattr(diffusers, scheduler)(**published | schedule)
    components = (tokenizer, text_encoder, autoencoder, transformer, process)
    getattr(diffusers, pipeline)(*components).save_pretrained(directory / "model")
    return directory / "model"


def write_tokenizer(folder: Path):
    """Train and return a tiny T5 tokenizer."""
    import io
    import json

    import sentencepiece
    from transformers import T5Tokenizer

    folder.mkdir(parents=True)
    corpus = ["a cat walks to the right on a beach", "the dog and the fox hop over a hill", "snow falls at night", ""]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus * 20),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 0}))
    return T5Tokenizer.from_pretrained(folder)
