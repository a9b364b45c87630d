"""An engine without a model, for tests of everything around it: frames follow from seed and settings, faults from the
prompt.

``fault:crash@3`` dies of a signal at step 3, ``fault:exit@3`` ends the process, ``fault:hang@3`` stays there,
``fault:oom@3``, ``fault:disk@3``, ``fault:device@3``, ``fault:user@3`` and ``fault:bug@3`` raise;
``fault:crash-once@3`` and so on only in the first try. ``memory:500`` takes so many MiB, ``step:0.2`` sets the seconds
of a step.
"""

import errno
import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

import cogvideox
from cogvideox.media.writers import write_video
from cogvideox.serving.engine_port import JobStopped, Port, UserError
from cogvideox.serving.engine_protocol import INVALID_PARAM, EngineJob, EngineSettings
from cogvideox.serving.resume import is_checkpoint_due, run_digest
from cogvideox.serving.thumbnails import FrameTap
from cogvideox.serving.video_params import VideoParams, params_of

FAULT = re.compile(r"fault:([a-z]+)(-once)?(?:@(\d+))?")
MEMORY = re.compile(r"memory:(\d+)")
STEP = re.compile(r"step:([0-9.]+)")


class FakeEngine:
    """Makes videos of noise out of nothing but numbers."""

    def __init__(self, settings: EngineSettings) -> None:
        """Be ready at once."""
        self._step_s = settings.fake_step_s
        self.facts: Mapping[str, Any] = {
            "engine": "fake",
            "device": settings.device,
            "device_name": "none",
            "dtype": "none",
            "placement": {},
            "model_digest": "fake",
            "version": cogvideox.__version__,
        }

    def run(self, job: EngineJob, port: Port) -> None:
        """Make a video as `cogvideox.serving.torch_engine.TorchEngine.run` does."""
        params = params_of(job.params)
        digest = run_digest(job, self.facts)
        begun_s = time.monotonic()
        first, state = self._start(job, digest)
        port.stage("text", progress=0)
        taken = _take_memory(params.prompt)
        facts: dict[str, Any] = {"resumed_from_step": first, "seconds_text": _since(begun_s)}
        begun_s = time.monotonic()
        port.stage("denoise")
        found = STEP.search(params.prompt)
        step_s = float(found[1]) if found else self._step_s
        for step in range(first + 1, params.num_steps + 1):
            port.check()
            _fault(params.prompt, step, job.attempt)
            time.sleep(step_s)
            state = hashlib.sha256(f"{state} {step}".encode()).hexdigest()
            port.step(step, params.num_steps, step_s)
            is_paused = port.is_pause_asked.is_set()
            if is_checkpoint_due(step, params.num_steps) or is_paused:
                path = job.folder / f"state-{step}.json"
                path.write_text(json.dumps({"digest": digest, "step": step, "state": state}))
                port.file("checkpoint", path, "application/json", step=step)
                self._preview(job, port, state, step)
            if is_paused:
                raise JobStopped
        del taken
        facts |= {"seconds_denoise": _since(begun_s), "seconds_step": step_s}
        self._finish(job, params, port, state, facts)

    def _start(self, job: EngineJob, digest: str) -> tuple[int, str]:
        if job.checkpoint is not None:
            kept = json.loads((job.folder / job.checkpoint).read_text())
            if kept["digest"] == digest:
                return kept["step"], kept["state"]
        return 0, digest

    def _preview(self, job: EngineJob, port: Port, state: str, step: int) -> None:
        path = job.folder / f"preview-{step}.webp"
        colour = tuple(bytes.fromhex(state[:6]))
        Image.new("RGB", (48, 32), colour).save(path, "WEBP")
        port.file("preview", path, "image/webp")

    def _finish(self, job: EngineJob, params: VideoParams, port: Port, state: str, facts: dict[str, Any]) -> None:
        port.stage("decode", progress=95)
        begun_s = time.monotonic()
        tap = FrameTap(params.num_frames, lambda _: port.check())
        result, thumbnail, sheet = (job.folder / name for name in ("result.mp4", "thumbnail.jpg", "sheet.jpg"))
        settings = json.dumps({"prompt": params.prompt, "seed": job.seed, "cogvideox_version": cogvideox.__version__})
        write_video(result, tap.through(_frames(state, params)), fps=params.fps, settings=settings)
        tap.save_thumbnail(thumbnail)
        tap.save_sheet(sheet)
        facts |= {name: self.facts[name] for name in ("device", "device_name", "dtype", "model_digest", "version")}
        facts |= {"num_frames": tap.num_frames, "fps": params.fps, "width": params.width_px}
        seconds_vae = round(tap.source_s, 3)
        facts |= {"height": params.height_px, "seconds_vae": seconds_vae}
        facts["seconds_encode"] = round(max(_since(begun_s) - seconds_vae, 0.0), 3)
        files = {"result": (result, "video/mp4"), "thumbnail": (thumbnail, "image/jpeg")}
        port.done(files | {"spritesheet": (sheet, "image/jpeg")}, facts)


def _frames(state: str, params: VideoParams) -> Iterator[np.ndarray]:
    numbers = np.random.default_rng(int(state[:16], 16))
    blocks = (params.height_px // 16 + 1, params.width_px // 16 + 1)
    for _ in range(params.num_frames):
        colours = numbers.integers(0, 256, (*blocks, 3), dtype=np.uint8)
        frame = colours.repeat(16, axis=0).repeat(16, axis=1)
        yield frame[None, : params.height_px, : params.width_px]


def _fault(prompt: str, step: int, attempt: int) -> None:
    found = FAULT.search(prompt)
    if found is None or step != int(found[3] or 1) or (found[2] and attempt > 1):
        return
    faults: dict[str, Callable[[], None]] = {
        "crash": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(1),
        "hang": lambda: time.sleep(1e6),
        "oom": lambda: _raise(MemoryError()),
        "disk": lambda: _raise(OSError(errno.ENOSPC, "No space left on device")),
        "device": lambda: _raise(RuntimeError("CUDA error: device-side assert triggered")),
        "bug": lambda: _raise(KeyError("a bug")),
        "user": lambda: _raise(UserError(INVALID_PARAM, "prompt: expected another one")),
    }
    if found[1] in faults:
        faults[found[1]]()


def _take_memory(prompt: str) -> np.ndarray | None:
    found = MEMORY.search(prompt)
    return np.ones((int(found[1]), 2**20), np.uint8) if found else None


def _raise(error: Exception) -> None:
    raise error


def _since(begun_s: float) -> float:
    return round(time.monotonic() - begun_s, 3)
