import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from transformers import T5Config, T5EncoderModel

from cogvideox.configs import AutoencoderConfig, TransformerConfig
from cogvideox.errors import DoesNotFitError
from cogvideox.generation.calibration import calibrate, is_measurable, read_calibration
from cogvideox.generation.memory_plan import (
    GIB,
    Calibration,
    Placement,
    PlannedVideo,
    TextEncoderShape,
    autoencoder_weights,
    choose_placement,
    plan_memory,
    require_fit,
    smaller_videos,
    transformer_weights,
)
from cogvideox.generation.model_limits import TILE_OVERLAPS, ModelLimits
from cogvideox.models.autoencoder import VideoAutoencoder
from cogvideox.models.tiling import OVERLAP_HEIGHT, OVERLAP_WIDTH, TileGrid, Tiling
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.presets import PRESETS
from cogvideox.quantization import linear_weights_of_blocks


def planned(preset: str, **changes) -> PlannedVideo:
    parts = PRESETS[preset]
    limits = ModelLimits(
        transformer=parts.transformer,
        autoencoder=parts.autoencoder,
        noise_schedule=parts.noise_schedule,
        default_sampler="ddim",
    )
    values = {"dtype": "bfloat16", "num_frames": 49, "height_px": 480, "width_px": 720, "num_steps": 50} | changes
    return PlannedVideo(limits=limits, text_encoder=TextEncoderShape(), **values)


@pytest.mark.parametrize(
    "config",
    [
        *(preset.transformer for preset in PRESETS.values()),
        TransformerConfig(num_layers=1, num_attention_heads=3, attention_bias=False, time_embed_dim=48),
    ],
)
def test_transformer_weights_are_counted_exactly(config: TransformerConfig) -> None:
    with torch.device("meta"):
        model = ExpertTransformer(config)
    counts = {name: value.numel() for name, value in model.state_dict().items()}
    of_blocks = sum(counts[name] for name in linear_weights_of_blocks(model))
    assert transformer_weights(config) == (of_blocks, sum(counts.values()) - of_blocks)


@pytest.mark.parametrize(
    "config",
    [
        PRESETS["5b"].autoencoder,
        PRESETS["tiny"].autoencoder,
        AutoencoderConfig(block_out_channels=(32, 64, 64, 96), layers_per_block=2, latent_channels=8),
    ],
)
def test_autoencoder_weights_are_counted_exactly(config: AutoencoderConfig) -> None:
    with torch.device("meta"):
        assert autoencoder_weights(config) == sum(p.numel() for p in VideoAutoencoder(config).parameters())


@pytest.mark.parametrize("feed_forward", ["gated-gelu", "relu"])
def test_text_encoder_weights_are_counted_exactly(feed_forward: str) -> None:
    sizes = {"d_model": 48, "d_ff": 80, "d_kv": 12, "num_heads": 4, "num_layers": 3, "vocab_size": 128}
    with torch.device("meta"):
        model = T5EncoderModel(T5Config(**sizes, feed_forward_proj=feed_forward))
    shape = TextEncoderShape(**sizes, is_gated=feed_forward != "relu")
    assert shape.block_weights + shape.other_weights == sum(p.numel() for p in model.parameters())


def test_the_first_placement_that_fits_is_taken() -> None:
    video = planned("5b")
    expected = {
        64: Placement(),
        20: Placement(is_staged=True),
        13.5: Placement(is_staged=True, has_sequential_guidance=True),
        8: Placement(is_staged=True, has_sequential_guidance=True, quantization="int8"),
    }
    for gib, placement in expected.items():
        plan = choose_placement(video, int(gib * GIB))
        assert plan.placement == placement and plan.fits
        require_fit(plan, video)


def test_fixed_choices_are_kept() -> None:
    plan = choose_placement(planned("5b"), 8 * GIB, quantization="none", is_staged=False, is_tiled=True)
    assert plan.placement.quantization is None and plan.placement.is_tiled and not plan.placement.is_staged
    assert not plan.fits
    assert choose_placement(planned("5b"), 8 * GIB, can_quantize=False).placement.quantization is None


@pytest.mark.parametrize(("preset", "gib"), [("5b", 6.6), ("2b", 4.5), ("5b-i2v", 6.5), ("1.5-5b", 6.8), ("5b", 2)])
def test_what_does_not_fit_is_refused_with_two_alternatives_that_do(preset: str, gib: float) -> None:
    size = {"height_px": 768, "width_px": 1360, "num_frames": 81} if preset == "1.5-5b" else {"num_frames": 161}
    video = planned(preset, **size)
    plan = choose_placement(video, int(gib * GIB))
    assert not plan.fits
    with pytest.raises(DoesNotFitError, match=r"needs .* GiB, .* available; would fit: .+ \| .+"):
        require_fit(plan, video)
    for flags in smaller_videos(video, plan):
        words = flags.split()
        changes = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        names = {"--num-frames": "num_frames", "--height": "height_px", "--width": "width_px"}
        smaller = replace(video, **{names[flag]: value for flag, value in changes.items()})
        assert plan_memory(smaller, plan.placement, plan.available_bytes).fits
        assert smaller.num_video_tokens < video.num_video_tokens


def test_times_follow_the_calibration() -> None:
    video = planned("5b")
    slow = plan_memory(video, Placement(), GIB, Calibration(linear=1e11, attention=1e11, convolution=1e11))
    fast = plan_memory(video, Placement(), GIB, Calibration(linear=2e11, attention=2e11, convolution=2e11))
    assert slow.seconds == pytest.approx(2 * fast.seconds)
    assert plan_memory(video, Placement(), GIB).seconds is None


def test_windows_bound_the_memory_of_long_clips() -> None:
    usual = planned("5b")
    long = replace(usual, num_frames=193, window_frames=49)
    assert long.num_call_tokens == usual.num_video_tokens < long.num_video_tokens and long.num_windows == 7
    denoise = [plan_memory(video, Placement(), GIB).stages[1].activation_bytes for video in (usual, long)]
    assert denoise[0] == denoise[1]


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from cogvideox.cli import main\n"
        "try: main(['plan', '--model', '5b', '--memory-gib', '24'])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'torch', 'transformers', 'av'} & sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=False)
    assert result.returncode == 0, result.stderr
    assert "17,550 of the video, 226 of the text" in result.stdout and "fits" in result.stdout


def test_a_calibration_is_measured_once_and_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert read_calibration("cpu", "float32") is None
    measured = calibrate("cpu", "float32")
    assert measured is not None and min(measured.linear, measured.attention, measured.convolution) > 1e9
    assert read_calibration("cpu", "float32") == measured
    (tmp_path / "cogvideox" / "calibration.json").write_text("damaged")
    assert read_calibration("cpu", "float32") is None
    assert calibrate("nowhere", "float32") is None


def test_a_failed_calibration_is_not_tried_again_for_a_day(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runs = []

    def fail(command, **_) -> None:
        runs.append(command)
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(subprocess, "run", fail)
    for _ in range(2):
        assert calibrate("cpu", "float32") is None and read_calibration("cpu", "float32") is None
    assert len(runs) == 1 and not is_measurable("cpu", "float32") and is_measurable("cpu", "bfloat16")
    now_s = time.time()
    for later_s, version, expected in ((23 * 3600, "0", False), (25 * 3600, "0", True), (0, "1", True)):
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda moment_s=now_s + later_s: moment_s)
            if version == "1":
                patch.setattr("cogvideox.__version__", "another")
            assert is_measurable("cpu", "float32") == expected
    assert not is_measurable("cpu", "float64")


@pytest.mark.parametrize("height", [*range(16, 257, 16), 480, 500, 720])
def test_tiles_are_possible_where_the_autoencoder_makes_them(height: int) -> None:
    config = AutoencoderConfig(sample_height=height, sample_width=720 * height // 480)
    try:
        TileGrid.for_decoding(Tiling.published(config), config.spatial_compression_ratio)
        can_tile = True
    except ValueError:
        can_tile = False
    assert replace(planned("5b").limits, autoencoder=config).can_tile == can_tile
    assert (OVERLAP_HEIGHT, OVERLAP_WIDTH) == TILE_OVERLAPS


def test_a_speed_that_cannot_be_is_no_calibration(tmp_path, monkeypatch) -> None:
    """A busy machine can make more layers seem faster than fewer."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answer = subprocess.CompletedProcess([], 0, '{"linear": -3e9, "attention": 1e9, "convolution": 1e9}', "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert calibrate("cpu", "float32") is None and not is_measurable("cpu", "float32")


def test_only_steps_that_are_taken_cost_time() -> None:
    calibration = Calibration(linear=1e11, attention=1e11, convolution=1e11)
    whole, half = (planned("5b", has_picture=True, strength=strength) for strength in (1.0, 0.5))
    times = [plan_memory(video, Placement(), GIB, calibration).stages[2].seconds for video in (whole, half)]
    assert (half.num_steps, half.num_taken_steps) == (50, 25) and times[0] == pytest.approx(2 * times[1])


def test_default_sizes() -> None:
    for preset in PRESETS:
        limits = planned(preset).limits
        expected = (768, 1360) if preset.startswith("1.5") else limits.native_size_px
        assert limits.default_size_px == expected
        assert limits.latent_shape() == limits.latent_shape(height_px=expected[0], width_px=expected[1])
    small = replace(planned("1.5-5b").limits.transformer, sample_height=8, sample_width=12)
    limits = replace(planned("1.5-5b").limits, transformer=small)
    assert limits.default_size_px == limits.native_size_px == (64, 96)


MEASURE = """
import gc, sys, torch
from dataclasses import replace
from cogvideox.models.autoencoder import VideoAutoencoder, _use_channels_last
from cogvideox.models.transformer import ExpertTransformer
from cogvideox.presets import PRESETS
def status(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) * 1024
def measured(run):
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    run()
    return status("VmHWM") - before
with torch.no_grad():
    config = replace(PRESETS["5b"].transformer, num_layers=1, num_attention_heads=16)
    model = ExpertTransformer(config).eval()
    text, time = torch.randn(2, 226, 4096), torch.ones(2)
    model(torch.randn(2, 16, 1, 4, 4), text, time)
    latents = torch.randn(2, 16, 3, 48, 72)
    print(measured(lambda: model(latents, text, time)))
    config = replace(PRESETS["5b"].autoencoder, block_out_channels=(32, 64, 64, 128))
    model = VideoAutoencoder(config).eval()
    _use_channels_last(model)
    model.decode(torch.randn(1, 16, 3, 4, 4))
    latents = torch.randn(1, 16, 3, 24, 36)
    print(measured(lambda: model.decode(latents)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_predicted_activations_cover_the_measured_ones() -> None:
    result = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, timeout=250)
    denoising, decoding = map(int, result.stdout.split())
    video = planned("5b", dtype="float32", num_frames=9, height_px=384, width_px=576)
    small = replace(video.limits.transformer, num_attention_heads=16)
    video = replace(video, limits=replace(video.limits, transformer=small))
    predicted = plan_memory(video, Placement(), GIB).stages[1].activation_bytes
    assert 0.9 * denoising < predicted < 2.5 * denoising
    autoencoder = replace(video.limits.autoencoder, block_out_channels=(32, 64, 64, 128))
    video = replace(video, height_px=192, width_px=288, limits=replace(video.limits, autoencoder=autoencoder))
    predicted = plan_memory(video, Placement(), GIB).stages[2].activation_bytes
    assert 0.9 * decoding < predicted < 3 * decoding
