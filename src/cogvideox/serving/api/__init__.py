"""The HTTP API and the page, as one application that never imports torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogvideox.serving.api.app import create_app
    from cogvideox.serving.api.run import listen, run_api
    from cogvideox.serving.api.settings import ApiSettings, InputLimits

__all__ = ["ApiSettings", "InputLimits", "create_app", "listen", "run_api"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is used: the files of this folder are used one by one too."""
    if name == "create_app":
        from cogvideox.serving.api.app import create_app as value
    elif name == "listen":
        from cogvideox.serving.api.run import listen as value
    elif name == "run_api":
        from cogvideox.serving.api.run import run_api as value
    elif name == "ApiSettings":
        from cogvideox.serving.api.settings import ApiSettings as value
    elif name == "InputLimits":
        from cogvideox.serving.api.settings import InputLimits as value
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
