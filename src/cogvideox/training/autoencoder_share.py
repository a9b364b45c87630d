"""Which clips of a step, and which of their frames, a process has; and the passes of the models over such a share.

With context parallelism (paper section 2.1) neighbouring processes share every clip: each has consecutive frames.
Pictures are dealt out whole.

Axes: B clips, T frames, t latent frames, H W rows and columns, Z latent channels.
"""

import dataclasses
from dataclasses import dataclass

from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from cogvideox.models.autoencoder import GaussianPosterior, VideoAutoencoder
from cogvideox.models.autoencoder_blocks import ChunkPass
from cogvideox.models.discriminator import Discriminator
from cogvideox.parallel.frame_split import FrameSplit, split_evenly
from cogvideox.parallel.world import World
from cogvideox.training.autoencoder_data import AutoencoderBatch


@dataclass(frozen=True, kw_only=True)
class ClipShare:
    """One process's share of a batch, the same of every clip."""

    rank: int
    """Among the processes, or groups of them, that have clips of their own."""
    size: int
    """How many there are."""
    split: FrameSplit | None = None
    """Its place among those that share its clips; None: it has them whole."""

    def cut(self, batch: AutoencoderBatch, *, multiple: int) -> AutoencoderBatch:
        """Return this process's frames of the clips of its group.

        Args:
            batch: whole clips.
            multiple: of which the frames of a part are a number, but for the first one of a clip of 1 more.
        """
        if self.split is None:
            return batch
        num_frames, num_latent_frames = batch.pixels.shape[2], batch.noise.shape[2]
        num_alone = num_frames % multiple
        sizes = split_evenly(num_frames, self.split.size, multiple)
        ratio = (num_frames - num_alone) // (num_latent_frames - num_alone)
        latent_sizes = [num_alone + (sizes[0] - num_alone) // ratio, *(size // ratio for size in sizes[1:])]
        own, own_latent = (_slice(parts, self.split.rank) for parts in (sizes, latent_sizes))
        return dataclasses.replace(
            batch,
            pixels=batch.pixels[:, :, own],
            noise=batch.noise[:, :, own_latent],
            has_perceptual=batch.has_perceptual[:, own],
        )

    def encode(self, model: VideoAutoencoder, pixels: Tensor) -> GaussianPosterior:
        """Return the posterior of this process's latents (B, Z, t, h, w) of its pixels (B, 3, T, H, W)."""
        return model.encode(pixels) if self.split is None else self.split.encode(model, pixels)

    def decode(self, model: VideoAutoencoder, latents: Tensor) -> Tensor:
        """Return this process's pixels (B, 3, T, H, W) of its latents (B, Z, t, h, w)."""
        return model.decode(latents) if self.split is None else self.split.decode(model, latents)

    def discriminate(self, discriminator: Discriminator, pixels: Tensor) -> Tensor:
        """Return the logits of this process's pixels (B, 3, T, H, W)."""
        if self.split is None:
            return discriminator(pixels)
        multiple = 2**discriminator.config.num_3d_blocks
        neighbours = self.split.neighbours(pixels, multiple=multiple, is_pooling=False)
        return discriminator(pixels, ChunkPass((), None, is_end_of_clip=True, neighbours=neighbours))


class Shares:
    """The shares of one process by the number of processes that have a clip together."""

    def __init__(self, world: World, numbers: set[int]) -> None:
        """Form the groups; every process does, in the same order."""
        self._whole = ClipShare(rank=world.rank, size=world.size)
        self._of_groups: dict[int, ClipShare] = {}
        for number in sorted(numbers - {1}):
            group, _ = distributed.new_subgroups(group_size=number)
            assert isinstance(group, ProcessGroup)
            split = FrameSplit(group)
            self._of_groups[number] = ClipShare(rank=world.rank // number, size=world.size // number, split=split)

    def of(self, num_ranks: int, num_frames: int) -> ClipShare:
        """Return the share of clips of so many frames that so many processes have together; pictures are not cut."""
        return self._whole if num_ranks == 1 or num_frames == 1 else self._of_groups[num_ranks]


def _slice(sizes: list[int], index: int) -> slice:
    return slice(sum(sizes[:index]), sum(sizes[: index + 1]))
