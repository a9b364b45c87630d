"""Going on with a job that was interrupted: when its state is kept, and what a state must match; without torch."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cogvideox.serving.engine_protocol import EngineJob

NUM_CHECKPOINTS = 10
"""Of a job, evenly over its steps."""

EQUAL_FACTS = ("version", "model_digest", "device_name", "dtype", "placement")
"""Of an engine: if one differs, the video would not end as it began."""


def run_digest(job: EngineJob, facts: Mapping[str, Any]) -> str:
    """Return a name of everything that decides the frames: a state goes on only where it is the same."""
    values = {
        "params": dict(job.params),
        "seed": job.seed,
        "model": job.model,
        "inputs": dict(job.input_digests),
        "engine": {name: facts[name] for name in EQUAL_FACTS},
    }
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_checkpoint_due(step: int, num_steps: int) -> bool:
    """Whether the state is kept after so many steps: ten times in a job, and before it is decoded."""
    return step == num_steps or step % max(1, num_steps // NUM_CHECKPOINTS) == 0
