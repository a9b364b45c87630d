"""How long filters take to train on 20,000 labelled clips: reading, all fits, figures and the model card.

    python -m benchmarks.filter_training

The numbers are drawn: what counts is the time. Six labels, each of a few columns and noise, known of nine clips in ten.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from cogvideox.data.curation.plan import CLIP_TYPES, CurationPlan, operator_types
from cogvideox.data.curation.policy import Policy, write_policy
from cogvideox.data.curation.recipe import CurationRecipe
from cogvideox.data.curation.store import write_table
from cogvideox.data.curation.tables import DECISION_TYPES, NOTHING, SOURCE_TYPES
from cogvideox.data.labelling.labels import LABELS
from cogvideox.training.filter_recipe import FilterRecipe
from cogvideox.training.filter_training import train_filters

CLIPS_EACH = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        num_columns = write(folder, arguments.clips)
        result = train_filters(FilterRecipe(curated=(folder,), labels=(folder / "labels.jsonl",)), folder / "filters")
    areas = ", ".join(f"{found.pr_auc:.2f}" for found in result.figures.values())
    what = f"{arguments.clips} clips, {num_columns} columns, {os.cpu_count()} cores"
    print(f"{what}: {result.duration_s:.1f} s (PR-AUC {areas})")


def write(folder: Path, num_clips: int) -> int:
    """Write a curation and its answers; return the number of columns."""
    rng = np.random.default_rng(0)
    planned = [each for each in CurationPlan.of(CurationRecipe(inputs=("x",))).operators]
    names = [f"{each.name}.{column.name}" for each in planned for column in each.operator.columns]
    values = rng.normal(size=(num_clips, len(names)))
    values[rng.random(values.shape) < 0.05] = np.nan
    clip_ids = [f"{index // CLIPS_EACH:016x}_{index:07d}_{index + 90:07d}" for index in range(num_clips)]
    digests = [f"{index // CLIPS_EACH:016x}".ljust(64, "0") for index in range(num_clips)]
    for each in planned:
        columns = [column.name for column in each.operator.columns]
        places = [names.index(f"{each.name}.{column}") for column in columns]
        rows = [
            {"clip_id": clip_id, "error": ""} | dict(zip(columns, row, strict=True))
            for clip_id, row in zip(clip_ids, values[:, places].tolist(), strict=True)
        ]
        write_table(folder / "tables" / f"{each.name}.parquet", rows, operator_types(each.operator.columns))
    blank = dict.fromkeys(CLIP_TYPES, 0) | {
        "start_s": 0.0,
        "end_s": 3.0,
        "fps": 30.0,
        "starts": "video",
        "ends": "video",
    }
    clips = [blank | {"clip_id": clip_id, "sha256": digest} for clip_id, digest in zip(clip_ids, digests, strict=True)]
    write_table(folder / "tables" / "clips.parquet", clips, CLIP_TYPES)
    source = dict(NOTHING) | {"size_bytes": 1, "status": "ok", "reason": "", "num_clips": CLIPS_EACH, "clips_s": 15.0}
    sources = [source | {"sha256": digest, "source": digest[:16]} for digest in dict.fromkeys(digests)]
    write_table(folder / "tables" / "sources.parquet", sources, SOURCE_TYPES)
    decisions = [{"clip_id": clip_id, "is_kept": True, "reason": ""} for clip_id in clip_ids]
    write_table(folder / "tables" / "decisions.parquet", decisions, DECISION_TYPES)
    versions = {each.name: each.operator.version for each in planned}
    (folder / "tables" / "operators.json").write_text(json.dumps(versions))
    write_policy(folder / "policy.toml", Policy())
    known = np.nan_to_num(values)
    truth = {
        label: known[:, 3 * place] + known[:, 3 * place + 1] * known[:, 3 * place + 2] + rng.normal(0, 0.5, num_clips)
        > 1.2
        for place, label in enumerate(LABELS)
    }
    is_known = rng.random((len(LABELS), num_clips)) < 0.9
    with (folder / "labels.jsonl").open("w") as file:
        for index, clip_id in enumerate(clip_ids):
            labels = {label: bool(truth[label][index]) for place, label in enumerate(LABELS) if is_known[place, index]}
            answer = {"clip_id": clip_id, "annotator": "drawn", "time": "2026-01-01T00:00:00Z", "labels": labels}
            file.write(json.dumps(answer) + "\n")
    return len(names)


if __name__ == "__main__":
    main()
