"""Centroid tracking names the direction of travelling actors, and none for actors in place."""

import numpy as np
import pytest
import torch

from cogvideox.data.stage_world import ACTIONS, TRAVELLING_ACTIONS, Art, draw_simple_art, render_scene, sample_scene
from cogvideox.evaluation.tracking import track_direction, travel_fraction

NUM_CLIPS_PER_ACTION = 6


@pytest.fixture(scope="module")
def art() -> Art:
    return draw_simple_art()


def _blur_and_noise(video, rng):
    frames = torch.from_numpy(video).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(frames, scale_factor=1 / 3, mode="bilinear", antialias=True)
    blurred = torch.nn.functional.interpolate(small, size=frames.shape[2:], mode="bilinear").permute(0, 2, 3, 1)
    return np.clip(blurred.numpy() + rng.normal(0, 8, video.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("action", ACTIONS)
def test_direction_of_sharp_and_of_blurred_noisy_clips(art, action):
    rng = np.random.default_rng(7)
    for _ in range(NUM_CLIPS_PER_ACTION):
        scene = sample_scene(rng, split="any", actors=art.actors, action=action)
        video = render_scene(scene, art)
        assert track_direction(video) == scene.direction, scene
        assert track_direction(_blur_and_noise(video, rng)) == scene.direction, scene


@pytest.mark.parametrize("direction", ["left", "right"])
def test_both_directions_at_other_sizes(art, direction):
    for action in TRAVELLING_ACTIONS:
        rng = np.random.default_rng(3)
        scene = sample_scene(rng, split="any", actors=art.actors, action=action, direction=direction)
        for num_frames, height_px, width_px in ((9, 64, 96), (25, 96, 128), (17, 32, 48)):
            video = render_scene(scene, art, num_frames=num_frames, height_px=height_px, width_px=width_px)
            assert track_direction(video) == direction


def test_a_block_that_covers_its_pixels_most_of_the_time_still_has_a_direction():
    video = np.full((17, 32, 96, 3), 200, dtype=np.uint8)
    for frame in range(17):
        left_px = 4 + round(2.5 * frame)  # 40 px of travel, 46 px wide: the middle is never uncovered
        video[frame, 8:24, left_px : left_px + 46] = 20
    assert travel_fraction(video) > 0.12
    assert travel_fraction(video[:, :, ::-1]) == pytest.approx(-travel_fraction(video), abs=1e-6)


def test_a_flickering_background_does_not_hide_the_direction(art):
    rng = np.random.default_rng(11)
    for direction in ("left", "right"):
        scene = sample_scene(rng, split="any", actors=art.actors, action="walks", direction=direction)
        flicker = np.kron(rng.normal(0, 6, (17, 4, 6, 1)), np.ones((1, 16, 16, 1)))
        video = np.clip(render_scene(scene, art) + flicker, 0, 255).astype(np.uint8)
        assert track_direction(video) == direction


def test_still_clips_single_frames_and_noise_have_no_direction():
    rng = np.random.default_rng(0)
    still = np.repeat(rng.integers(0, 256, (1, 64, 96, 3), dtype=np.uint8), 17, axis=0)
    assert travel_fraction(still) == 0
    assert travel_fraction(still[:1]) == 0
    assert track_direction(rng.integers(0, 256, (17, 64, 96, 3), dtype=np.uint8)) is None


def test_other_shapes_and_types_are_refused():
    with pytest.raises(ValueError, match="expected"):
        track_direction(np.zeros((17, 64, 96), dtype=np.uint8))
    with pytest.raises(ValueError, match="float32"):
        track_direction(np.zeros((17, 64, 96, 3), dtype=np.float32))  # pyright: ignore[reportArgumentType]
