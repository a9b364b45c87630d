"""Which sizes and lengths a model can make."""


def check_size(*, height_px: int, width_px: int, multiple_px: int) -> None:
    """Raise ValueError naming the nearest legal size unless height and width are positive multiples."""
    for name, value in (("height_px", height_px), ("width_px", width_px)):
        if value < multiple_px or value % multiple_px:
            nearest = max(multiple_px, round(value / multiple_px) * multiple_px)
            raise ValueError(f"{name}: expected a multiple of {multiple_px}, got {value}; the nearest is {nearest}")


def num_latent_frames(num_frames: int, temporal_compression: int) -> int:
    """Return the latent frames of a clip.

    A clip of 1 + 8k frames has 1 + 2k latents (temporal compression 4); one of 8k frames has 2k. Any other length would
    come back with another number of frames than asked for.

    Raises:
        ValueError: the length is not one of those; the nearest ones are named.
    """
    double = 2 * temporal_compression
    if num_frames >= 1 and num_frames % double in (0, 1):
        return (num_frames - 1) // temporal_compression + 1
    below = longest_clip(max(num_frames, 1), temporal_compression)
    nearest = f"{below} or {below + double}" if num_frames > 1 else "1"
    raise ValueError(f"num_frames: expected {double}k or {double}k + 1, got {num_frames}; try {nearest}")


def longest_clip(max_frames: int, temporal_compression: int) -> int:
    """Return the most frames, at most ``max_frames`` (1 or more), that a clip of a legal length has."""
    double = 2 * temporal_compression
    return max_frames if max_frames % double <= 1 else max_frames // double * double + 1


def shortest_clip(min_frames: int, temporal_compression: int) -> int:
    """Return the fewest frames, at least ``min_frames`` (1 or more), that a clip of a legal length has."""
    double = 2 * temporal_compression
    return min_frames if min_frames % double <= 1 else (min_frames // double + 1) * double


def num_frames_of_latents(num_latent_frames: int, temporal_compression: int) -> int:
    """Return the frames that latents decode to: 4k for an even number k of them, 4k - 3 for an odd one."""
    return temporal_compression * num_latent_frames - (temporal_compression - 1) * (num_latent_frames % 2)
