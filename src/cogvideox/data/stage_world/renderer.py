"""Turns a scene into pixels: painted place, second object, shadow, actor, weather."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cogvideox.data.stage_world.art import SPRITE_MARGIN_PX, SUPERSAMPLING, Art
from cogvideox.data.stage_world.motion import Pose, Stage, pose_at
from cogvideox.data.stage_world.places import paint_place
from cogvideox.data.stage_world.scene import Scene, SecondObject

MAX_SPRITE_WIDTH_FRACTION = 0.46
SECOND_OBJECT_HEIGHT_FRACTIONS: dict[SecondObject, float] = {
    "tree": 0.50,
    "house": 0.42,
    "cactus": 0.40,
    "balloon": 0.34,
}
_LEGS_FRACTION = 0.38
_NUM_FLAKES, _NUM_STREAKS = 11, 13


def render_scene(
    scene: Scene, art: Art, *, num_frames: int = 17, height_px: int = 64, width_px: int = 96, fps: int = 8
) -> NDArray[np.uint8]:
    """Render a clip as (num_frames, height_px, width_px, 3) uint8 RGB.

    Travelling actors cross the same distance whatever the number of frames; repeating motions keep their rate.
    Raises ValueError for a size or count below its minimum and for an actor or object the art does not hold.
    """
    for argument, value, minimum in (
        ("num_frames", num_frames, 1),
        ("height_px", height_px, 16),
        ("width_px", width_px, 16),
        ("fps", fps, 1),
    ):
        if value < minimum:
            raise ValueError(f"{argument}: expected at least {minimum}, got {value}")
    sprite_height_px = _sprite_height(scene, art, height_px=height_px, width_px=width_px)
    stage = Stage(
        width_px=width_px,
        height_px=height_px,
        sprite_width_px=sprite_height_px * art.aspect_ratio(scene.actor),
        sprite_height_px=sprite_height_px,
        duration_s=max(num_frames - 1, 1) / fps,
    )
    poses = [pose_at(scene, stage, frame / fps) for frame in range(num_frames)]
    background = paint_place(scene, height_px=height_px, width_px=width_px)
    if scene.second_object is not None:
        _place_second_object(background, scene, art, stage)
    frames = background[None] * (1 - _actor_shadows(scene, stage, poses))[..., None]
    sprite = art.sprite(scene.actor, sprite_height_px)
    for frame, pose in zip(frames, poses, strict=True):
        _draw_sprite(frame, sprite, pose, facing=1 if scene.facing == "right" else -1)
    if scene.weather is not None:
        times_s = np.arange(num_frames, dtype=np.float32) / fps
        _add_weather(frames, scene, times_s)
    return np.clip(frames + 0.5, 0, 255).astype(np.uint8)


def _sprite_height(scene: Scene, art: Art, *, height_px: int, width_px: int) -> int:
    widest_px = MAX_SPRITE_WIDTH_FRACTION * width_px / art.aspect_ratio(scene.actor)
    return max(4, round(min(scene.size_fraction * height_px, widest_px)))


def _place_second_object(background: NDArray[np.float32], scene: Scene, art: Art, stage: Stage) -> None:
    assert scene.second_object is not None
    name = scene.second_object
    height_px = max(4, round(SECOND_OBJECT_HEIGHT_FRACTIONS[name] * stage.height_px))
    half_width_px = 0.5 * height_px * art.aspect_ratio(name)
    from_edge_px = max(0.16 * stage.width_px, half_width_px + 1)
    x_px = from_edge_px if scene.second_object_side == "left" else stage.width_px - from_edge_px
    # Farther away than the actor, so its foot is higher in the picture.
    y_px = (0.46 if name == "balloon" else scene.ground_fraction - 0.09) * stage.height_px
    if name != "balloon":
        shadow = _shadow(np.array([x_px]), y_px, np.array([0.9 * half_width_px]), np.array([0.3]), stage)
        background *= 1 - shadow[0][..., None]
    _draw_sprite(background, art.sprite(name, height_px), Pose(x_px=x_px, y_px=y_px), facing=1)


def _actor_shadows(scene: Scene, stage: Stage, poses: list[Pose]) -> NDArray[np.float32]:
    """Darkening under the actor, (frames, height, width): smaller and fainter the higher the actor is."""
    lift = np.clip(np.array([pose.lift_px for pose in poses]) / (0.6 * stage.height_px), 0, 1)
    x_px = np.array([pose.x_px for pose in poses])
    half_width_px = 0.48 * stage.sprite_width_px * (1 - 0.45 * lift)
    return _shadow(x_px, scene.ground_fraction * stage.height_px, half_width_px, 0.5 * (1 - 0.75 * lift), stage)


def _shadow(
    x_px: NDArray[np.float64],
    y_px: float,
    half_width_px: NDArray[np.float64],
    strength: NDArray[np.float64],
    stage: Stage,
) -> NDArray[np.float32]:
    columns = np.arange(stage.width_px) + 0.5
    rows = np.arange(stage.height_px) + 0.5
    across = np.exp(-(((columns[None] - x_px[:, None]) / half_width_px[:, None]) ** 4))
    down = np.exp(-(((rows - y_px) / (0.035 * stage.height_px)) ** 2))
    return (strength[:, None, None] * down[None, :, None] * across[:, None, :]).astype(np.float32)


def _draw_sprite(frame: NDArray[np.float32], sprite: Image.Image, pose: Pose, *, facing: int) -> None:
    """Transform a supersampled sprite, reduce it, and lay it over `frame` in place, touching only its box."""
    if pose.stride:
        sprite = _swing_legs(sprite, pose.stride)
    # Plain floats: NumPy on 2 x 2 matrices would cost as much as the pixels. Forward map: [[a, b], [c, d]].
    cos, sin = math.cos(pose.rotation_rad), math.sin(pose.rotation_rad)
    scale_x, scale_y = pose.scale_x * facing, pose.scale_y
    a, b = cos * scale_x, (cos * pose.shear - sin) * scale_y
    c, d = sin * scale_x, (sin * pose.shear + cos) * scale_y
    pivot_x = 0.5 * sprite.width
    pivot_y = SPRITE_MARGIN_PX + pose.pivot_fraction * (sprite.height - 2 * SPRITE_MARGIN_PX)
    corners = [(x - pivot_x, y - pivot_y) for x in (0, sprite.width) for y in (0, sprite.height)]
    reached_x = [pose.x_px + (a * x + b * y) / SUPERSAMPLING for x, y in corners]
    reached_y = [pose.y_px + (c * x + d * y) / SUPERSAMPLING for x, y in corners]
    left, right = max(0, math.floor(min(reached_x))), min(frame.shape[1], math.ceil(max(reached_x)))
    top, bottom = max(0, math.floor(min(reached_y))), min(frame.shape[0], math.ceil(max(reached_y)))
    if right <= left or bottom <= top:
        return
    from_x, from_y = SUPERSAMPLING * (left - pose.x_px), SUPERSAMPLING * (top - pose.y_px)
    area = a * d - b * c
    a, b, c, d = d / area, -b / area, -c / area, a / area
    # Pillow wants the map from target to source.
    inverse = (a, b, pivot_x + a * from_x + b * from_y, c, d, pivot_y + c * from_x + d * from_y)
    size = (SUPERSAMPLING * (right - left), SUPERSAMPLING * (bottom - top))
    moved = sprite.transform(size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    patch = np.asarray(moved.reduce(SUPERSAMPLING), dtype=np.float32)
    box = frame[top:bottom, left:right]
    box *= 1 - patch[..., 3:] / 255
    box += patch[..., :3]


def _swing_legs(sprite: Image.Image, stride: float) -> Image.Image:
    """Warp the lowest part so that the feet swing and close: reads as steps for any number of legs."""
    width, height = sprite.size
    hip = round((1 - _LEGS_FRACTION) * height)
    swing_px, closing_px = 0.07 * width * stride, 0.08 * width * (1 - stride)
    body = ((0, 0, width, hip), (0, 0, 0, hip, width, hip, width, 0))
    legs = (
        (0, hip, width, height),
        (0, hip, swing_px - closing_px, height, width + swing_px + closing_px, height, width, hip),
    )
    return sprite.transform(sprite.size, Image.Transform.MESH, [body, legs], Image.Resampling.BILINEAR)


def _add_weather(frames: NDArray[np.float32], scene: Scene, times_s: NDArray[np.floating]) -> None:
    """Lay a few large soft flakes or streaks over every frame, in place; they move too little per frame to alias."""
    rng = np.random.default_rng(scene.weather_seed)
    height_px, width_px = frames.shape[1:3]
    is_snow = scene.weather == "snow"
    count = _NUM_FLAKES if is_snow else _NUM_STREAKS
    fall_per_s, half_length, half_width, strength = (0.24, 0.042, 0.036, 0.95) if is_snow else (1.05, 0.11, 0.019, 0.62)
    loop = 1 + 4 * half_length
    # Evenly spread with jitter: independent positions would clump.
    x = ((rng.permutation(count) + rng.uniform(0.1, 0.9, count)) / count)[None]
    y = ((np.arange(count) + rng.uniform(0.1, 0.9, count)) / count)[None] * loop
    y = (y + fall_per_s * times_s[:, None]) % loop - 2 * half_length
    if is_snow:
        x = x + 0.02 * np.sin(2 * np.pi * (0.5 * times_s[:, None] + rng.uniform(0, 1, count)[None]))
    rows = (np.arange(height_px) + 0.5) / height_px
    columns = (np.arange(width_px) + 0.5) / width_px
    down = np.exp(-(((rows[None, None] - y[..., None]) / half_length) ** 2))
    across = np.exp(-(((columns[None, None] - x[..., None]) * width_px / height_px / half_width) ** 2))
    opacity = np.matmul(
        down.transpose(0, 2, 1).astype(np.float32), np.broadcast_to(across, (*y.shape, width_px)).astype(np.float32)
    )
    opacity = strength * np.minimum(opacity, 1)
    rgb = np.array((255, 255, 255) if is_snow else (205, 222, 250), dtype=np.float32)
    if not is_snow and scene.place in ("snowy field", "beach"):
        rgb = np.array((96, 128, 186), dtype=np.float32)
    frames += (rgb - frames) * opacity[..., None]
