"""How every claim is measured: ours and the peer alternating in one run, medians, on a quiet machine."""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

NUM_THREADS = 2


@dataclass(frozen=True)
class Result:
    """One claim: a figure of ours beside the peer's; the ratio is theirs over ours, so more is better."""

    claim: str
    peer: str
    ours: float
    theirs: float
    unit: str = "s"
    target: float | None = None
    """What the ratio should reach."""
    ratio: float = field(init=False)
    machine: str = field(default_factory=lambda: machine())

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", round(self.theirs / self.ours, 3))

    def __str__(self) -> str:
        target = "" if self.target is None else f" (target {self.target})"
        figures = f"ours {self.ours:.3g} {self.unit}, {self.peer} {self.theirs:.3g} {self.unit}"
        return f"{self.claim}: {figures}, ratio {self.ratio:.2f}{target}"


def machine() -> str:
    """Describe processor, bfloat16 instructions, threads and versions."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = [flag for flag in ("amx_bf16", "avx512_bf16", "avx2") if f" {flag}" in text][:2]
    parts = [names[0] if names else platform.processor(), "+".join(flags), f"{NUM_THREADS} threads"]
    return ", ".join([*parts, f"torch {version('torch')}", f"diffusers {version('diffusers')}"])


def alternate(functions: dict[str, Callable[[], object]], rounds: int, warm_ups: int = 1) -> dict[str, float]:
    """Return the median seconds of each function, all called in turn, ``rounds`` times after ``warm_ups``."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for index in range(warm_ups + rounds):
        for name, function in functions.items():
            started_at_s = time.perf_counter()
            function()
            if index >= warm_ups:
                seconds[name].append(time.perf_counter() - started_at_s)
    return {name: statistics.median(values) for name, values in seconds.items()}


def run_python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter and return its last line of output."""
    command = [sys.executable, "-c", code, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return output.strip().splitlines()[-1]


PEAK_MEMORY = """
import ctypes, re
def _status(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
def peak_mib(function):
    ctypes.CDLL(None).malloc_trim(0)  # memory freed before would be used again, uncounted
    open("/proc/self/clear_refs", "w").write("5")
    before = _status("VmRSS")
    function()
    return _status("VmHWM") - before
"""
"""Source of ``peak_mib(function)``, MiB above what the process held before; for `run_python` on Linux."""


def main(measure: Callable[[int], Sequence[Result]], default_rounds: int = 3) -> None:
    """Run one script: print its results, and with ``--json`` end with one JSON object."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=default_rounds)
    arguments = parser.parse_args()
    results = measure(arguments.rounds)
    for result in results:
        print(result)
    if arguments.json:
        print(json.dumps({"date": date.today().isoformat(), "results": [asdict(result) for result in results]}))
