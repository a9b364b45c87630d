"""Colour drift of clips three times as long as the embedded model was trained for, 50 seeds.

Of scenes whose actor stays in place, the mean colour's shift from each added segment of 8 frames to the next, averaged
over the channels, in levels of 255: the median over all seeds and segments. Windows are fused in latent space (ours);
chaining starts each clip of 17 frames from the last frame of the one before, encoded again; renders show what motion
alone does. Not part of `benchmarks.all`: it takes some ten minutes.
"""

import sys
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from benchmarks.harness import NUM_THREADS, Result, main

NUM_SEEDS = 50
NUM_FRAMES, WINDOW_FRAMES, SEGMENT_FRAMES = 49, 17, 8
NUM_STEPS = 50
LIMIT_LEVELS = 1.0


def measure(rounds: int) -> Sequence[Result]:
    del rounds
    from cogvideox import VideoGenerator
    from cogvideox.data.stage_world import caption_scene, load_fluent_art, render_scene, sample_scene

    torch.set_num_threads(NUM_THREADS)
    generator = VideoGenerator.load("tiny")
    art = load_fluent_art()
    shifts: dict[str, list[float]] = {"fused": [], "chained": [], "rendered": []}
    for seed in range(NUM_SEEDS):
        rng = np.random.default_rng(seed)
        action = ("jumps", "spins", "dances")[seed % 3]
        scene = sample_scene(rng, action=action, second_object="none", weather="none")
        prompt = caption_scene(scene, rng, style="plain")
        fused = generator.text_to_video(
            prompt, seed=seed, num_frames=NUM_FRAMES, window_frames=WINDOW_FRAMES, num_steps=NUM_STEPS
        ).frames
        shifts["fused"] += shifts_of(fused)
        shifts["chained"] += shifts_of(chain(generator, prompt, seed))
        shifts["rendered"] += shifts_of(render_scene(scene, art, num_frames=NUM_FRAMES))
    medians = {name: float(np.median(values)) for name, values in shifts.items()}
    claim = f"mean colour shift per added segment, {NUM_FRAMES} frames by windows of {WINDOW_FRAMES}"
    return [
        Result(claim, "the limit", medians["fused"], LIMIT_LEVELS, "levels", target=1.0),
        Result(claim, "last-frame chaining", medians["fused"], medians["chained"], "levels"),
        Result(claim, "real renders", medians["fused"], medians["rendered"], "levels"),
    ]


def shifts_of(frames: np.ndarray) -> list[float]:
    """Return the shifts between neighbouring segments, the first two of which are the trained length."""
    starts = range(1, len(frames) - SEGMENT_FRAMES + 1, SEGMENT_FRAMES)
    colours = [frames[start : start + SEGMENT_FRAMES].reshape(-1, 3).mean(axis=0) for start in starts]
    return [float(np.abs(after - before).mean()) for before, after in pairwise(colours[1:])]


@torch.no_grad()
def chain(generator, prompt: str, seed: int) -> np.ndarray:
    """Make the same length by clips that each begin with the last frame of the one before."""
    from cogvideox.diffusion.samplers import NoiseSource
    from cogvideox.generation.conditioning import Conditioning
    from cogvideox.generation.denoise import DenoiseState, denoise
    from cogvideox.generation.scheduled_transformer import ScheduledTransformer
    from cogvideox.media.video import to_tensor

    video = generator.text_to_video(prompt, seed=seed, num_frames=WINDOW_FRAMES, num_steps=NUM_STEPS).frames
    plan = generator.noise_schedule.plan(NUM_STEPS)
    tokens = generator.max_prompt_tokens
    conditioning = Conditioning(
        text=generator.text_encoder.encode([prompt], tokens), negative_text=generator.text_encoder.encode([""], tokens)
    )
    predict = ScheduledTransformer(generator.transformer, plan)
    autoencoder = generator.autoencoder
    shape = (1, *generator.limits.latent_shape(num_frames=WINDOW_FRAMES))
    while len(video) < NUM_FRAMES:
        pixels = to_tensor(video[-1:])[None].to(autoencoder.dtype)
        known = (autoencoder.encode(pixels).mode() * autoencoder.config.scaling_factor).float()
        seed += 1000
        rng = NoiseSource.from_seeds([seed], generator.dtype)
        noise = rng.draw(shape, generator.device)
        state = DenoiseState(0, noise, rng_state=rng.get_state())
        for step_index, alpha_bar in enumerate(plan.alpha_bars):
            latents = state.latents.clone()
            latents[:, :, :1] = alpha_bar**0.5 * known + (1 - alpha_bar) ** 0.5 * noise[:, :, :1]
            start = DenoiseState(step_index, latents, state.previous_clean, state.rng_state)
            state = next(denoise(predict, start, plan, conditioning))
        latents = state.latents.clone()
        latents[:, :, :1] = known
        video = np.concatenate([video, *generator.decode_frames(latents)])
        video = np.delete(video, len(video) - WINDOW_FRAMES, axis=0)  # the frame that was there already
    return video[:NUM_FRAMES]


if __name__ == "__main__":
    sys.exit(main(measure, default_rounds=1))
