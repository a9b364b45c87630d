"""Run every claim and write the table of docs/performance.md."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

from benchmarks.harness import machine

NAMES = (
    "vae_decode",
    "vae_encode",
    "vae_decode_memory",
    "vae_streaming",
    "vae_training_step",
    "transformer_forward",
    "transformer_long",
    "transformer_training_step",
    "packed_training",
    "uniform_sampling",
    "prompt_to_mp4",
    "start_up",
)
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
START, END = "<!-- table: python -m benchmarks.all -->", "<!-- end of table -->"


def main() -> None:
    names = sys.argv[1:] or NAMES
    lines = [
        f"{machine()}; {date.today().isoformat()}.",
        "",
        "| claim | ours | peer | ratio | target |",
        "|---|---|---|---|---|",
    ]
    for name in names:  # a process each: one claim's memory and compiled code do not touch the next
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for result in json.loads(output.splitlines()[-1])["results"]:
            ours, theirs = (f"{result[side]:.3g} {result['unit']}" for side in ("ours", "theirs"))
            target = "" if result["target"] is None else f">= {result['target']}"
            lines.append(
                f"| {result['claim']} | {ours} | {result['peer']}: {theirs} | {result['ratio']:.2f} | {target} |"
            )
            print(lines[-1], flush=True)
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    PAGE.write_text("\n".join([before + START, *lines, END + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
