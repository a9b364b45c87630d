"""SAT checkpoints become ours and back: every bit, the right rows in the right place, and nothing half done."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX, CogVideoXPipeline, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed, get_3d_sincos_pos_embed
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import sat_checkpoint as sat
from cogvideox import ExpertTransformer, VideoAutoencoder
from cogvideox.checkpoints import sat_files
from cogvideox.checkpoints.conversion import convert
from cogvideox.checkpoints.directory import read_configs
from cogvideox.checkpoints.lora import fuse_lora, read_lora
from cogvideox.errors import CheckpointError
from cogvideox.presets import PRESETS
from random_checkpoint import write_random_checkpoint

WEIGHTS = "diffusion_pytorch_model.safetensors"


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("variant", sat.VARIANTS)
def test_transformer_there_and_back(tmp_path: Path, variant: str, dtype: torch.dtype) -> None:
    weights = sat.random_state(sat.transformer_shapes(variant), dtype=dtype)
    source = sat.write_transformer(tmp_path / "sat", weights | sat.constants(variant))
    stated = variant if variant == "2b" else None  # without freqs_* and of no published width
    (item,) = convert(source, tmp_path / "ours", variant=stated)
    assert item.variant == variant and item.folder == tmp_path / "ours" / "transformer"
    assert entries(tmp_path / "ours" / "transformer") == {"config.json", WEIGHTS}
    ours = ExpertTransformer.load(tmp_path / "ours", device="cpu", dtype=dtype)
    theirs, report = CogVideoXTransformer3DModel.from_pretrained(
        item.folder, torch_dtype=dtype, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    sat.same_bits(dict(ours.state_dict()), dict(theirs.state_dict()))
    config = json.loads((item.folder / "config.json").read_text())
    published = PRESETS[variant].transformer.to_json()
    inferred = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "time_embed_dim": 24}
    expected = published | inferred | {"text_embed_dim": 40, "ofs_embed_dim": 24 if variant == "1.5-5b-i2v" else None}
    assert {key: value for key, value in config.items() if not key.startswith("_")} == expected
    convert(tmp_path / "ours" / "transformer", tmp_path / "back")
    assert (tmp_path / "back" / "latest").read_text() == "1"
    sat.same_bits(sat.read_transformer(tmp_path / "back"), weights)
    assert (tmp_path / "back" / "1" / "mp_rank_00_model_states.pt").stat().st_size < 2 * item.size_bytes + 10**5
    convert(tmp_path / "back", tmp_path / "again", variant=variant)
    sat.same_bits(load_file(tmp_path / "again" / "transformer" / WEIGHTS), load_file(item.folder / WEIGHTS))


def sat_forward(weights: dict, latents, text, time, ofs=None, positions=None, rotary=None, patch=(1, 2, 2)):
    """Sat's DiffusionTransformer, written from its sources, on its own weights; latents (B, T, C, H, W)."""
    w = {key.removeprefix(sat.ENGINE): value for key, value in weights.items()}

    def linear(name, x):
        return F.linear(x, w[f"{name}.weight"].flatten(1), w[f"{name}.bias"])

    def layer_norm(name, x):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    def embed(value, width):
        half = width // 2
        angles = value[:, None].float() * torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(half) / half)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    def turn(x):
        cos, sin = rotary
        halves = x.unflatten(-1, (-1, 2))
        rotated = torch.stack([-halves[..., 1], halves[..., 0]], dim=-1).flatten(-2)
        return x * cos + rotated * sin

    def modulate(x, shift, scale):
        return x * (1 + scale[:, None]) + shift[:, None]

    (b, t, c, h, wd), (o, p, q) = latents.shape, patch
    patches = latents.reshape(b, t // o, o, c, h // p, p, wd // q, q).permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4)
    video = linear("mixins.patch_embed.proj", patches.flatten(1, 3))
    x = torch.cat([linear("mixins.patch_embed.text_proj", text), video], dim=1)
    num_text, width = text.shape[1], x.shape[-1]
    if positions is not None:
        x[:, num_text:] += positions
    emb = linear("time_embed.2", F.silu(linear("time_embed.0", embed(time, width))))
    if ofs is not None:
        emb = emb + linear("ofs_embed.2", F.silu(linear("ofs_embed.0", embed(ofs, emb.shape[-1]))))
    for layer in range(2):
        name = f"transformer.layers.{layer}"
        (s1, c1, g1, s2, c2, g2, ts1, tc1, tg1, ts2, tc2, tg2) = linear(
            f"mixins.adaln_layer.adaLN_modulations.{layer}.1", F.silu(emb)
        ).chunk(12, dim=1)
        normed = layer_norm(f"{name}.input_layernorm", x)
        joint = torch.cat([modulate(normed[:, :num_text], ts1, tc1), modulate(normed[:, num_text:], s1, c1)], dim=1)
        parts = linear(f"{name}.attention.query_key_value", joint).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (-1, sat.HEAD)).transpose(1, 2) for part in parts)
        query = layer_norm(f"mixins.adaln_layer.query_layernorm_list.{layer}", query)
        key = layer_norm(f"mixins.adaln_layer.key_layernorm_list.{layer}", key)
        if rotary is not None:
            query = torch.cat([query[:, :, :num_text], turn(query[:, :, num_text:])], dim=2)
            key = torch.cat([key[:, :, :num_text], turn(key[:, :, num_text:])], dim=2)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        attended = linear(f"{name}.attention.dense", attended)
        x = x + torch.cat([tg1[:, None] * attended[:, :num_text], g1[:, None] * attended[:, num_text:]], dim=1)
        normed = layer_norm(f"{name}.post_attention_layernorm", x)
        joint = torch.cat([modulate(normed[:, :num_text], ts2, tc2), modulate(normed[:, num_text:], s2, c2)], dim=1)
        hidden = F.gelu(linear(f"{name}.mlp.dense_h_to_4h", joint), approximate="tanh")
        hidden = linear(f"{name}.mlp.dense_4h_to_h", hidden)
        x = x + torch.cat([tg2[:, None] * hidden[:, :num_text], g2[:, None] * hidden[:, num_text:]], dim=1)
    x = layer_norm("transformer.final_layernorm", x)[:, num_text:]
    shift, scale = linear("mixins.final_layer.adaLN_modulation.1", F.silu(emb)).chunk(2, dim=1)
    x = linear("mixins.final_layer.linear", modulate(layer_norm("mixins.final_layer.norm_final", x), shift, scale))
    x = x.reshape(b, t // o, h // p, wd // q, -1, o, p, q).permute(0, 1, 5, 4, 2, 6, 3, 7)
    return x.reshape(b, t, -1, h, wd)


@pytest.mark.parametrize("variant", ["2b", "1.5-5b", "1.5-5b-i2v"])
def test_converted_weights_compute_what_sat_computes(tmp_path: Path, variant: str) -> None:
    weights = sat.random_state(sat.transformer_shapes(variant))
    weights = {key: value + 1 if "norm" in key and key.endswith("weight") else value for key, value in weights.items()}
    convert(sat.write_transformer(tmp_path / "sat", weights), tmp_path / "ours", variant=variant)
    ours = ExpertTransformer.load(tmp_path / "ours", device="cpu", dtype="float32")
    theirs = CogVideoXTransformer3DModel.from_pretrained(tmp_path / "ours" / "transformer")
    generator = torch.Generator().manual_seed(1)
    num_in = 32 if variant.endswith("i2v") else 16
    latents = torch.randn(1, 4, num_in, 8, 12, generator=generator)
    text, time = torch.randn(1, 226, sat.TEXT, generator=generator), torch.tensor([437])
    ofs = torch.tensor([2.0]) if variant == "1.5-5b-i2v" else None
    if variant == "2b":
        table = get_3d_sincos_pos_embed(sat.WIDTH, (6, 4), 4, 1.875, 1.0, output_type="pt")
        expected = sat_forward(weights, latents, text, time, positions=table.flatten(0, 1).float())
        rotary = None
    else:
        rotary = get_3d_rotary_pos_embed(
            sat.HEAD, None, (4, 6), temporal_size=2, grid_type="slice", max_size=(150, 150), device="cpu"
        )
        expected = sat_forward(weights, latents, text, time, ofs, rotary=rotary, patch=(2, 2, 2))
    with torch.no_grad():
        reference = theirs(latents, text, time, ofs=ofs, image_rotary_emb=rotary, return_dict=False)[0]
        extra = {} if ofs is None else {"offset": ofs}
        parts = latents.transpose(1, 2).split(16, dim=1)
        if len(parts) == 2:
            extra["image_latents"] = parts[1]
        got = ours(parts[0], text, time, **extra).transpose(1, 2)
    assert expected.std() > 0.05
    # Our norms and diffusers' add 1e-5, SAT's 1e-6.
    torch.testing.assert_close(reference, expected, rtol=0, atol=2e-4 * float(expected.abs().max()))
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4 * float(expected.abs().max()))


AUTOENCODER_NAMES = {
    "encoder.conv_in.conv.bias": "encoder.conv_in.conv.bias",
    "encoder.down.0.block.0.conv1.conv.weight": "encoder.down_blocks.0.resnets.0.conv1.conv.weight",
    "encoder.down.1.block.0.nin_shortcut.weight": "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
    "encoder.down.2.downsample.conv.weight": "encoder.down_blocks.2.downsamplers.0.conv.weight",
    "encoder.mid.block_1.norm2.weight": "encoder.mid_block.resnets.0.norm2.weight",
    "encoder.mid.block_2.norm2.weight": "encoder.mid_block.resnets.1.norm2.weight",
    "encoder.norm_out.bias": "encoder.norm_out.bias",
    "decoder.mid.block_1.norm1.conv_y.conv.weight": "decoder.mid_block.resnets.0.norm1.conv_y.conv.weight",
    "decoder.up.3.block.1.norm1.norm_layer.bias": "decoder.up_blocks.0.resnets.1.norm1.norm_layer.bias",
    "decoder.up.2.block.1.conv2.conv.weight": "decoder.up_blocks.1.resnets.1.conv2.conv.weight",
    "decoder.up.1.upsample.conv.bias": "decoder.up_blocks.2.upsamplers.0.conv.bias",
    "decoder.up.0.block.0.nin_shortcut.bias": "decoder.up_blocks.3.resnets.0.conv_shortcut.bias",
    "decoder.norm_out.conv_b.conv.weight": "decoder.norm_out.conv_b.conv.weight",
}


@pytest.mark.parametrize(("variant", "factor", "is_inverted"), [("2b", 1.15258426, False), ("1.5-5b", 0.7, True)])
def test_autoencoder_there_and_back(tmp_path: Path, variant: str, factor: float, is_inverted: bool) -> None:
    weights = sat.random_state(sat.autoencoder_shapes(), prefix="")
    file = sat.write_autoencoder(tmp_path / "vae" / "3d-vae.pt", weights)
    (item,) = convert(file, tmp_path / "ours", variant=variant)
    converted = load_file(item.folder / WEIGHTS)
    assert len(converted) == len(weights)
    for theirs, ours in AUTOENCODER_NAMES.items():
        assert torch.equal(converted[ours], weights[theirs]), ours
    reference, report = AutoencoderKLCogVideoX.from_pretrained(item.folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert reference.config.scaling_factor == factor and reference.config.invert_scale_latents is is_inverted
    assert reference.config.block_out_channels == [32, 64, 64, 96] and reference.config.layers_per_block == 1
    sat.same_bits(dict(VideoAutoencoder.load(tmp_path / "ours", device="cpu", dtype="float32").state_dict()), converted)
    convert(item.folder, tmp_path / "back")
    assert entries(tmp_path / "back") == {"3d-vae.pt"}
    sat.same_bits(torch.load(tmp_path / "back" / "3d-vae.pt", weights_only=True)["state_dict"], weights)
    with pytest.raises(ValueError, match=r"scaling factor.*--variant"):
        convert(file.parent, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint by diffusers whose autoencoder SAT could have."""
    changes = {"block_out_channels": (32, 32, 64, 64), "norm_num_groups": 32}
    return write_random_checkpoint(tmp_path_factory.mktemp("complete"), autoencoder_changes=changes)


def test_complete_checkpoint_there_and_back(complete: Path, tmp_path: Path) -> None:
    parts = convert(complete, tmp_path / "sat")
    assert [part.part for part in parts] == ["transformer", "vae"]
    files = {"transformer", "transformer/latest", "transformer/1", "transformer/1/mp_rank_00_model_states.pt", "vae"}
    found = {str(path.relative_to(tmp_path / "sat")) for path in (tmp_path / "sat").rglob("*")}
    assert found == files | {"vae/3d-vae.pt"}
    convert(tmp_path / "sat", tmp_path / "ours", base=complete)
    for part in ("transformer", "vae"):
        sat.same_bits(load_file(tmp_path / "ours" / part / WEIGHTS), load_file(complete / part / WEIGHTS))
    before, after = read_configs(complete), read_configs(tmp_path / "ours")
    assert after.transformer == before.transformer and after.autoencoder == before.autoencoder
    assert after.noise_schedule == before.noise_schedule and after.default_sampler == before.default_sampler
    CogVideoXPipeline.from_pretrained(tmp_path / "ours")


def test_a_base_for_one_part_and_another_kind_of_base(complete: Path, tmp_path: Path) -> None:
    shapes = {
        key: (*shape[:-1], 48) if "text_proj.weight" in key else shape
        for key, shape in sat.transformer_shapes("5b-i2v").items()
    }
    del shapes["mixins.pos_embed.pos_embedding"]
    source = sat.write_transformer(tmp_path / "i2v", sat.random_state(shapes))
    convert(source, tmp_path / "ours", base=complete)
    assert (
        json.loads((tmp_path / "ours" / "model_index.json").read_text())["_class_name"]
        == "CogVideoXImageToVideoPipeline"
    )
    assert read_configs(tmp_path / "ours").transformer.in_channels == 32
    source = sat.write_transformer(tmp_path / "1.5", sat.random_state(sat.transformer_shapes("1.5-5b")))
    with pytest.raises(ValueError, match=r"--base.*patch_size_t: expected 2, got None"):
        convert(source, tmp_path / "none", base=complete)
    assert entries(tmp_path) == {"i2v", "ours", "1.5"}


def test_2b_table_is_left_out_if_it_is_the_known_one(tmp_path: Path) -> None:
    weights = sat.random_state(sat.transformer_shapes("2b"), dtype=torch.float16)
    table = torch.zeros(1, 226 + 13 * 30 * 45, sat.WIDTH)
    table[0, 226:] = get_3d_sincos_pos_embed(sat.WIDTH, (45, 30), 13, 1.875, 1.0, output_type="pt").flatten(0, 1)
    name = f"{sat.ENGINE}mixins.pos_embed.pos_embedding"
    source = sat.write_transformer(tmp_path / "sat", weights | {name: table.half()})
    (item,) = convert(source, tmp_path / "ours")
    assert item.variant == "2b" and item.num_tensors == len(load_file(item.folder / WEIGHTS))
    source = sat.write_transformer(tmp_path / "other", weights | {name: table.half().roll(1, dims=1)})
    with pytest.raises(CheckpointError, match="not the sines and cosines"):
        convert(source, tmp_path / "none")


def test_shards_have_an_index_that_readers_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sat_files.write_shards, "__defaults__", (20_000,))
    weights = sat.random_state(sat.transformer_shapes("1.5-5b"))
    (item,) = convert(sat.write_transformer(tmp_path / "sat", weights), tmp_path / "ours")
    index = json.loads((item.folder / f"{WEIGHTS}.index.json").read_text())
    names = set(index["weight_map"].values())
    assert len(names) > 3 and entries(item.folder) == names | {"config.json", f"{WEIGHTS}.index.json"}
    assert index["metadata"]["total_size"] == item.size_bytes == sum(4 * value.numel() for value in weights.values())
    CogVideoXTransformer3DModel.from_pretrained(item.folder)
    convert(item.folder, tmp_path / "back")
    sat.same_bits(sat.read_transformer(tmp_path / "back"), weights)


def test_another_dtype(tmp_path: Path) -> None:
    weights = sat.random_state(sat.transformer_shapes("1.5-5b"))
    source = sat.write_transformer(tmp_path / "sat", weights)
    convert(source, tmp_path / "ours", dtype="bfloat16")
    assert {value.dtype for value in load_file(tmp_path / "ours" / "transformer" / WEIGHTS).values()} == {
        torch.bfloat16
    }
    weights[f"{sat.ENGINE}time_embed.0.bias"][3] = 1e6
    with pytest.raises(CheckpointError, match=r"as torch\.float16: NaN or infinite"):
        convert(sat.write_transformer(tmp_path / "big", weights), tmp_path / "none", dtype="float16")


RANK = 4


def lora_state(alone: bool) -> dict[str, torch.Tensor]:
    state = sat.random_state(sat.lora_shapes(2, 256, RANK), seed=3)
    if alone:
        return {key: value for key, value in state.items() if "matrix" in key}
    return state | sat.random_state(sat.transformer_shapes("5b", width=256)) | sat.constants("5b")


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("alpha", [None, 8.0])
def test_lora_adds_what_sat_adds(complete: Path, tmp_path: Path, alone: bool, alpha: float | None) -> None:
    state = lora_state(alone)
    source = sat.write_transformer(tmp_path / "sat", state)
    (item,) = convert(source, tmp_path / "ours", lora_alpha=alpha)
    assert (item.lora_rank, item.lora_alpha) == (RANK, alpha or 1.0)
    assert entries(tmp_path / "ours") == {"pytorch_lora_weights.safetensors"}
    transformer = ExpertTransformer.load(complete, device="cpu", dtype="float32")
    expected = {key: value.clone() for key, value in transformer.state_dict().items()}
    for layer in range(2):
        name, attention = f"transformer_blocks.{layer}.attn1", f"{sat.ENGINE}transformer.layers.{layer}.attention"
        for ours, theirs, part in (
            ("to_q", "query_key_value", 0),
            ("to_k", "query_key_value", 1),
            ("to_v", "query_key_value", 2),
            ("to_out.0", "dense", 0),
        ):
            down, up = (state[f"{attention}.{theirs}.matrix_{factor}.{part}"] for factor in "AB")
            expected[f"{name}.{ours}.weight"] += (alpha or 1.0) / RANK * up @ down
    fuse_lora(transformer, read_lora(tmp_path / "ours", transformer.config))
    pipeline = CogVideoXPipeline.from_pretrained(complete)
    pipeline.load_lora_weights(tmp_path / "ours")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    fused = pipeline.transformer.state_dict()
    for key, value in transformer.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-5)
        torch.testing.assert_close(fused[key], expected[key], rtol=0, atol=1e-5)
    (back,) = convert(tmp_path / "ours", tmp_path / "back")
    assert (back.lora_rank, back.lora_alpha) == (RANK, alpha or 1.0)
    sat.same_bits(sat.read_transformer(tmp_path / "back"), lora_state(True))
    convert(tmp_path / "back", tmp_path / "again")
    for read in (load_file, metadata):
        first, again = (read(tmp_path / name / "pytorch_lora_weights.safetensors") for name in ("ours", "again"))
        if read is load_file:
            sat.same_bits(first, again)
        else:
            assert first == again


def metadata(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as reader:
        return reader.metadata()


def test_loras_that_sat_has_not(complete: Path, tmp_path: Path) -> None:
    down, up = torch.randn(2, 256), torch.randn(256, 2)
    query, key = "transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_k"
    mlp = "transformer_blocks.1.ff.net.0.proj"
    cases = {
        "one rank and one alpha": {
            f"{query}.lora_A.weight": down,
            f"{query}.lora_B.weight": up,
            f"{key}.lora_A.weight": torch.cat([down, down]),
            f"{key}.lora_B.weight": torch.cat([up, up], dim=1),
        },
        "SAT has adapters at": {f"{mlp}.lora_A.weight": down, f"{mlp}.lora_B.weight": torch.randn(1024, 2)},
    }
    for number, (message, tensors) in enumerate(cases.items()):
        file = tmp_path / f"{number}.safetensors"
        save_file({f"transformer.{key}": value for key, value in tensors.items()}, file)
        with pytest.raises(CheckpointError, match=message):
            convert(file, tmp_path / "none")
        assert not (tmp_path / "none").exists()


def damaged(what: str) -> dict:
    weights = sat.random_state(sat.transformer_shapes("1.5-5b"))
    name = f"{sat.ENGINE}transformer.layers.1.mlp.dense_4h_to_h.weight"
    if what == "missing":
        del weights[name]
    elif what == "unknown":
        weights[f"{sat.ENGINE}transformer.layers.1.mlp.gate.weight"] = torch.zeros(2)
    elif what == "foreign":
        weights["optimizer.step"] = torch.zeros(2)
    elif what == "shape":
        weights[name] = weights[name][:, :-1]
    elif what == "nan":
        weights[name][3, 4] = float("nan")
    elif what == "integers":
        weights[name] = weights[name].int()
    elif what == "gap":
        return {key.replace("layers.1.", "layers.2."): value for key, value in weights.items()}
    elif what == "no proj":
        del weights[f"{sat.ENGINE}mixins.patch_embed.proj.weight"]
    elif what == "proj":
        weights[f"{sat.ENGINE}mixins.patch_embed.proj.weight"] = torch.zeros(3)
    elif what == "heads":
        weights[f"{sat.ENGINE}mixins.adaln_layer.query_layernorm_list.0.weight"] = torch.zeros(15)
    elif what == "no tensor":
        weights[name] = [1, 2]
    return weights


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", r"1 tensors are missing, first .*layers\.1\.mlp\.dense_4h_to_h\.weight"),
        ("unknown", r"1 tensors are unknown, first .*layers\.1\.mlp\.gate\.weight"),
        ("foreign", r"1 tensors are unknown, first optimizer\.step"),
        ("shape", r"layers\.1\.mlp\.dense_4h_to_h\.weight: expected shape \(32, 128\), got \(32, 127\)"),
        ("nan", r"layers\.1\.mlp\.dense_4h_to_h\.weight: NaN or infinite"),
        ("integers", r"layers\.1\.mlp\.dense_4h_to_h\.weight: expected floating-point"),
        ("gap", r"transformer\.layers\.N: expected N from 0 on without gaps, got \[0, 2\]"),
        ("no proj", r"missing tensor .*patch_embed\.proj\.weight"),
        ("proj", r"patch_embed\.proj\.weight: expected a size at axis 2, got shape \(3,\)"),
        ("heads", "width, of heads: expected a multiple of 15, got 32"),
        ("no tensor", r"dense_4h_to_h\.weight: expected a tensor, got list"),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_nothing(tmp_path: Path, what: str, message: str) -> None:
    source = sat.write_transformer(tmp_path / "sat", damaged(what))
    with pytest.raises(CheckpointError, match=message):
        convert(source, tmp_path / "ours")
    assert entries(tmp_path) == {"sat"}


class Command:
    def __reduce__(self):
        import os

        return os.system, ("touch ran",)


def test_files_that_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = sat.random_state(sat.transformer_shapes("1.5-5b"))
    torch.save({"module": weights, "args": Command()}, "code.pt")
    torch.save({"module": weights}, "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"module": weights}, "whole.pt")
    content = Path("whole.pt").read_bytes()
    Path("short.pt").write_bytes(content[: len(content) // 2])
    Path("text.pt").write_text("not a checkpoint")
    Path("empty.pt").write_bytes(b"")
    torch.save({"module": {}}, "none.pt")
    torch.save([1, 2], "list.pt")
    torch.save({"a": torch.zeros(2)}, "other.pt")
    save_file({"a": torch.zeros(2)}, "other.safetensors")
    Path("folder").mkdir()
    cases = {
        "code.pt": r"run code \(posix.system\)",
        "old.pt": "old format",
        "short.pt": "damaged",
        "text.pt": "damaged",
        "empty.pt": "damaged",
        "none.pt": "expected named tensors",
        "list.pt": "expected named tensors",
        "other.pt": "neither model.diffusion_model",
        "other.safetensors": "expected a .pt file of SAT",
        "absent.pt": "no such file",
        "folder": "no checkpoint in it",
    }
    before = entries(tmp_path)
    for name, message in cases.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            convert(name, "ours")
        assert "\n" not in str(caught.value), name
    assert entries(tmp_path) == before


def test_folders_that_are_not_whole(tmp_path: Path) -> None:
    folder = sat.write_transformer(tmp_path / "sat", sat.random_state(sat.transformer_shapes("1.5-5b")))
    (folder / "1000" / "mp_rank_01_model_states.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="model-parallel"):
        convert(folder, tmp_path / "ours")
    for text, message in (("7", "no such file, but .*latest names '7'"), ("../1000", "expected the name of a folder")):
        (folder / "latest").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            convert(folder, tmp_path / "ours")
    assert entries(tmp_path) == {"sat"}


def test_arguments_that_contradict_the_source(complete: Path, tmp_path: Path) -> None:
    source = sat.write_transformer(tmp_path / "sat", sat.random_state(sat.transformer_shapes("1.5-5b")))
    small = sat.write_transformer(tmp_path / "small", sat.random_state(sat.transformer_shapes("5b")))
    lora = sat.write_transformer(tmp_path / "lora", lora_state(False))
    out = tmp_path / "ours"
    file = tmp_path / "file"
    file.write_text("")
    cases = [
        ((source, out), {"to": "sat"}, "format 'sat' already"),
        ((source, out), {"variant": "5b"}, "of the kind 1.5-5b, got '5b'"),
        ((source, out), {"part": "vae"}, "this is a transformer"),
        ((lora, out), {"part": "transformer"}, "this is a lora"),
        ((lora, out), {"lora_alpha": float("nan")}, "positive number"),
        ((small, out), {}, "say which with --variant"),
        ((complete, out), {"variant": "5b"}, "--variant: only for sources in SAT's format"),
        ((complete, out), {"base": complete}, "--base: only for"),
        ((complete / "vae", out), {"part": "transformer"}, "the source holds vae"),
        ((source, out), {"dtype": "int8"}, "dtype: expected one of"),
        ((source, file), {}, "expected a folder"),
        ((source, tmp_path), {}, "not empty; --force"),
    ]
    before = entries(tmp_path)
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            convert(*arguments, **options)
    assert entries(tmp_path) == before


def test_force_replaces_what_is_in_the_way(tmp_path: Path) -> None:
    source = sat.write_transformer(tmp_path / "sat", sat.random_state(sat.transformer_shapes("1.5-5b")))
    vae = sat.write_autoencoder(tmp_path / "3d-vae.pt", sat.random_state(sat.autoencoder_shapes(), prefix=""))
    out = tmp_path / "ours"
    (out / "transformer").mkdir(parents=True)
    (out / "transformer" / "stale").write_text("")
    (out / "README.md").write_text("mine")
    convert(source, out, force=True)
    convert(vae, out, force=True, variant="1.5-5b")
    assert entries(out) == {"README.md", "transformer", "vae"}
    assert entries(out / "transformer") == {"config.json", WEIGHTS}
    assert entries(tmp_path) == {"sat", "3d-vae.pt", "ours"}


def test_an_autoencoder_that_sat_cannot_have(random_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="norm_num_groups: SAT has 32 always, got 8"):
        convert(random_checkpoint, tmp_path / "sat")
    convert(random_checkpoint, tmp_path / "sat", part="transformer")
    assert entries(tmp_path) == {"sat"} and entries(tmp_path / "sat") == {"latest", "1"}
