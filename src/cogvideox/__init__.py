"""CogVideoX text-to-video: the whole system as open Python software.

The public names are imported when they are first used, so that importing the package never imports torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogvideox.generation.generator import VideoGenerator
    from cogvideox.media.video import Video
    from cogvideox.models.autoencoder import VideoAutoencoder
    from cogvideox.models.transformer import ExpertTransformer

__version__ = "0.1.0"
__all__ = ["ExpertTransformer", "Video", "VideoAutoencoder", "VideoGenerator", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "VideoGenerator":
        from cogvideox.generation.generator import VideoGenerator as value
    elif name == "Video":
        from cogvideox.media.video import Video as value
    elif name == "VideoAutoencoder":
        from cogvideox.models.autoencoder import VideoAutoencoder as value
    elif name == "ExpertTransformer":
        from cogvideox.models.transformer import ExpertTransformer as value
    else:
        raise AttributeError(f"module 'cogvideox' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
