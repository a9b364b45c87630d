"""Explicit uniform sampling: how much less the loss of a step varies when its timesteps cover the range evenly.

The embedded model on clips of the stage world, weights fixed, so all variation is that of the draws; 200 steps each.
"""

from collections.abc import Sequence

import torch

from benchmarks.harness import Result, main

NUM_STEPS = 200
SAMPLES_PER_STEP = (8, 32)


def measure(rounds: int) -> Sequence[Result]:
    del rounds
    import benchmarks.models  # noqa: F401 (threads and seed)

    results = []
    for number in SAMPLES_PER_STEP:
        uniform, plain = (_deviation(number, is_uniform) for is_uniform in (True, False))
        claim = f"standard deviation of the loss of a step of {number} clips, uniform timesteps"
        results.append(Result(claim, "independent timesteps", uniform, plain, unit=""))
    return results


def _deviation(num_samples: int, is_uniform: bool) -> float:
    from cogvideox import VideoGenerator
    from cogvideox.data.clips import ClipShape
    from cogvideox.data.stage_world.source import StageWorldClips, StageWorldSettings
    from cogvideox.diffusion.loss import velocity_loss
    from cogvideox.diffusion.noise_schedule import NoiseSchedule
    from cogvideox.diffusion.prediction import add_noise, velocity_from_clean_and_noise
    from cogvideox.media.video import to_tensor

    generator = VideoGenerator.load("tiny", dtype="float32")
    transformer, autoencoder = generator.transformer, generator.autoencoder
    clips = StageWorldClips(StageWorldSettings(num_clips=64, seed=5))
    shape = ClipShape(num_frames=17, height_px=64, width_px=96, fps=8.0)
    with torch.no_grad():
        pixels = torch.stack([to_tensor(clips.read(index, shape)) for index in range(64)])
        latents = torch.cat([autoencoder.encode(batch).mode() for batch in pixels.split(8)])
        latents *= autoencoder.config.scaling_factor
        captions = [captions[0] for captions in clips.table.captions]
        text = generator.text_encoder.encode(captions, transformer.config.max_text_seq_length)
    schedule = NoiseSchedule(generator.limits.noise_schedule)
    rng = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(NUM_STEPS):
        rows = torch.randint(len(latents), (num_samples,), generator=rng)
        timesteps = (
            schedule.draw_train_timesteps(num_samples, generator=rng)
            if is_uniform
            else torch.randint(schedule.config.num_train_timesteps, (num_samples,), generator=rng)
        )
        noise = torch.randn(latents[rows].shape, generator=rng)
        alpha_bar = schedule.alpha_bar_at(timesteps)
        with torch.no_grad():
            velocity = transformer(add_noise(latents[rows], noise, alpha_bar), text[rows], timesteps)
        losses.append(float(velocity_loss(velocity, velocity_from_clean_and_noise(latents[rows], noise, alpha_bar))))
    return float(torch.tensor(losses).std())


if __name__ == "__main__":
    main(measure)
