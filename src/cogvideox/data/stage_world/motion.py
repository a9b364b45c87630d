"""Every action as a closed form of time: where the sprite is, how it is turned, squashed and sheared."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cogvideox.data.stage_world.scene import Action, Actor, Scene

Gait = Literal["legs", "waddle", "wheels"]

GAITS: dict[Actor, Gait] = {
    "cat": "legs",
    "elephant": "legs",
    "pig": "legs",
    "horse": "legs",
    "turtle": "legs",
    "penguin": "waddle",
    "dinosaur": "legs",
    "parrot": "waddle",
    "whale": "waddle",
    "octopus": "legs",
    "car": "wheels",
    "taxi": "wheels",
    "robot": "waddle",
    "snowman": "waddle",
    "pumpkin": "waddle",
    "soccer ball": "waddle",
}
"""How an actor walks: swinging legs, rocking from side to side, or driving."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The frame and the sprite in it, in pixels, and the length of the clip."""

    width_px: int
    height_px: int
    sprite_width_px: float
    sprite_height_px: float
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The sprite at one moment; y grows downward, positive rotation is clockwise on screen."""

    x_px: float
    """Horizontal position of the pivot, which is in the middle of the sprite's width."""
    y_px: float
    """Vertical position of the pivot."""
    pivot_fraction: float = 1.0
    """Height of the pivot in the sprite: 0 its top, 0.5 its middle, 1 its feet."""
    rotation_rad: float = 0.0
    scale_x: float = 1.0
    """Negative values show the sprite from its other side."""
    scale_y: float = 1.0
    shear: float = 0.0
    """Sideways shift per unit of height below the pivot."""
    stride: float = 0.0
    """Swing of the legs, -1 to 1."""
    lift_px: float = 0.0
    """Free height under the sprite, for the shadow."""

    @property
    def is_grounded(self) -> bool:
        """Whether the sprite touches the ground."""
        return self.lift_px < 0.5


def pose_at(scene: Scene, stage: Stage, time_s: float) -> Pose:
    """The actor's pose `time_s` after the start of the clip; continuous in time."""
    return MOTIONS[scene.action](scene, stage, time_s)


def _walk(scene: Scene, stage: Stage, time_s: float) -> Pose:
    angle = 2 * math.pi * (1.6 * scene.rate_hz * time_s + scene.phase_turns)
    gait = GAITS[scene.actor]
    bob, sway, stride = {"legs": (0.06, 0.04, 1.0), "waddle": (0.07, 0.17, 0.0), "wheels": (0.035, 0.035, 0.0)}[gait]
    lift_px = bob * stage.sprite_height_px * abs(math.sin(angle))
    return Pose(
        x_px=_path_x(scene, stage, time_s, stage.sprite_width_px),
        y_px=_ground_y(scene, stage) - lift_px,
        rotation_rad=sway * math.sin(angle),
        stride=stride * math.cos(angle),
        shear=0.05 * math.sin(angle) if gait == "legs" else 0.0,
    )


def _hop(scene: Scene, stage: Stage, time_s: float) -> Pose:
    arc = _arc(1.5 * scene.rate_hz * time_s + scene.phase_turns)
    lift_px = arc * min(0.20 * stage.height_px, _headroom(scene, stage))
    squash = _squash(arc)
    return Pose(
        x_px=_path_x(scene, stage, time_s, stage.sprite_width_px),
        y_px=_ground_y(scene, stage) - lift_px,
        scale_x=1 / squash,
        scale_y=squash,
        lift_px=lift_px,
    )


def _roll(scene: Scene, stage: Stage, time_s: float) -> Pose:
    sign = 1 if scene.direction == "right" else -1
    rotation_rad = sign * 2 * math.pi * (0.6 * scene.rate_hz * time_s + scene.phase_turns)
    half_extent_px = 0.5 * math.hypot(
        stage.sprite_height_px * math.cos(rotation_rad), stage.sprite_width_px * math.sin(rotation_rad)
    )
    return Pose(
        x_px=_path_x(scene, stage, time_s, max(stage.sprite_width_px, stage.sprite_height_px)),
        y_px=_ground_y(scene, stage) - half_extent_px,
        pivot_fraction=0.5,
        rotation_rad=rotation_rad,
    )


def _fly(scene: Scene, stage: Stage, time_s: float) -> Pose:
    sign = 1 if scene.direction == "right" else -1
    angle = 2 * math.pi * (0.7 * scene.rate_hz * time_s + scene.phase_turns)
    half_px, swing_px = 0.5 * stage.sprite_height_px, 0.05 * stage.height_px
    highest_px = half_px + swing_px + 1
    lowest_px = max(highest_px, _ground_y(scene, stage) - 0.18 * stage.height_px - half_px - swing_px)
    y_px = lowest_px + (highest_px - lowest_px) * scene.flight_slack + swing_px * math.sin(angle)
    return Pose(
        x_px=_path_x(scene, stage, time_s, stage.sprite_width_px),
        y_px=y_px,
        pivot_fraction=0.5,
        rotation_rad=sign * (0.10 * math.cos(angle) - 0.06),
        lift_px=_ground_y(scene, stage) - y_px - half_px,
    )


def _jump(scene: Scene, stage: Stage, time_s: float) -> Pose:
    arc = _arc(scene.rate_hz * time_s + scene.phase_turns)
    lift_px = arc * min(0.34 * stage.height_px, _headroom(scene, stage))
    squash = _squash(arc)
    return Pose(
        x_px=_standing_x(scene, stage),
        y_px=_ground_y(scene, stage) - lift_px,
        scale_x=1 / squash,
        scale_y=squash,
        lift_px=lift_px,
    )


def _spin(scene: Scene, stage: Stage, time_s: float) -> Pose:
    turned = math.cos(2 * math.pi * (0.8 * scene.rate_hz * time_s + scene.phase_turns))
    # A flat cut-out would vanish edge-on; a solid one keeps some width.
    return Pose(
        x_px=_standing_x(scene, stage),
        y_px=_ground_y(scene, stage),
        scale_x=math.copysign(max(abs(turned), 0.22), turned),
    )


def _dance(scene: Scene, stage: Stage, time_s: float) -> Pose:
    angle = 2 * math.pi * (1.8 * scene.rate_hz * time_s + scene.phase_turns)
    sway = math.sin(angle)
    squash = 1 - 0.10 * math.cos(angle) ** 2
    return Pose(
        x_px=_standing_x(scene, stage) + 0.03 * stage.width_px * sway,
        y_px=_ground_y(scene, stage),
        rotation_rad=0.32 * sway,
        scale_x=1 / squash,
        scale_y=squash,
    )


def _fall(scene: Scene, stage: Stage, time_s: float) -> Pose:
    """Drop from the upper edge in 0.6 of the clip, bounce, rest; a longer clip falls more slowly."""
    progress = time_s / stage.duration_s
    ground_px = _ground_y(scene, stage)
    drop_px = max(ground_px - 0.80 * stage.sprite_height_px, 0.3 * stage.height_px)
    impact, rest = 0.6, 0.88
    if progress < impact:
        height = 1 - (progress / impact) ** 1.6
    elif progress < rest:
        height = 0.18 * _arc((progress - impact) / (rest - impact))
    else:
        height = 0.0
    since_impact = (progress - impact) / 0.1
    squash = 1 - 0.24 * math.exp(-(since_impact**2)) if progress < rest else 1.0
    lean_sign = 1 if scene.facing == "right" else -1
    return Pose(
        x_px=_standing_x(scene, stage),
        y_px=ground_px - drop_px * height,
        rotation_rad=lean_sign * 0.30 * max(0.0, 1 - progress / impact),
        scale_x=1 / squash,
        scale_y=squash,
        lift_px=drop_px * height,
    )


MOTIONS: dict[Action, Callable[[Scene, Stage, float], Pose]] = {
    "walks": _walk,
    "hops": _hop,
    "rolls": _roll,
    "flies": _fly,
    "jumps": _jump,
    "spins": _spin,
    "dances": _dance,
    "falls": _fall,
}


def _ground_y(scene: Scene, stage: Stage) -> float:
    return scene.ground_fraction * stage.height_px


def _headroom(scene: Scene, stage: Stage) -> float:
    """How far the sprite can rise with its head staying in the frame, and never less than a visible hop."""
    return max(0.2 * stage.height_px, _ground_y(scene, stage) - 1.04 * stage.sprite_height_px)


def _path_x(scene: Scene, stage: Stage, time_s: float, extent_px: float) -> float:
    """Middle of a sprite `extent_px` wide that crosses travel_fraction of the frame in the clip at constant speed."""
    length_px = min(scene.travel_fraction * stage.width_px, stage.width_px - 0.9 * extent_px)
    room_px = stage.width_px - extent_px - length_px
    left_px = 0.5 * extent_px + room_px * (scene.start_slack if room_px > 0 else 0.5)
    progress = time_s / stage.duration_s
    return left_px + length_px * (progress if scene.direction == "right" else 1 - progress)


def _standing_x(scene: Scene, stage: Stage) -> float:
    """Middle of an actor that stays in place, away from the second object if there is one."""
    leftmost, rightmost = 0.34, 0.66
    if scene.second_object is not None:
        leftmost, rightmost = (0.52, 0.68) if scene.second_object_side == "left" else (0.32, 0.48)
    return stage.width_px * (leftmost + (rightmost - leftmost) * scene.start_slack)


def _arc(turns: float) -> float:
    """Parabolic hops: 0 on the ground at whole turns, 1 at the top halfway."""
    part = turns % 1.0
    return 4 * part * (1 - part)


def _squash(arc: float) -> float:
    """Vertical scale of a hopping body: pressed together on the ground, slightly stretched in the air."""
    return 0.80 + 0.25 * min(1.0, 3 * arc)
