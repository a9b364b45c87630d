"""Kept clips as video files: the last step, so that nothing is encoded that is not kept."""

import os
from collections.abc import Sequence
from pathlib import Path

from cogvideox.data.curation.decoding import Decoder, DecodingError
from cogvideox.data.curation.plan import CurationPlan
from cogvideox.data.curation.store import Store


def transcode(
    path: Path, digest: str, clip_ids: Sequence[str], plan: CurationPlan, store: Store, decoder: Decoder
) -> dict[str, str]:
    """Write the clips of a source that are not yet written, in one pass; return the reasons of those that failed.

    Args:
        path: of the source.
        digest: SHA-256 of its content.
        clip_ids: which clips.
        plan: says how they are written.
        store: holds where they lie in the source, and takes their files.
        decoder: does it.
    """
    wanted = set(clip_ids)
    rows = [row for row in store.read(plan.shots_key, digest) if row["clip_id"] in wanted]
    settings = plan.recipe.clips
    targets: dict[str, tuple[str, Path]] = {}
    requests = []
    for row in sorted(rows, key=lambda row: row["start_frame"]):
        target = store.path(plan.clip_files_key, row["clip_id"], ".mp4")
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".writing-{target.name}")
        targets[str(temporary)] = (row["clip_id"], target)
        place = {name: row[name] for name in ("start_frame", "end_frame", "start_pts", "start_s", "end_s", "fps")}
        how = {"crf": settings.crf, "preset": settings.preset, "max_short_side_px": settings.max_short_side_px}
        requests.append(place | how | {"out": str(temporary)})
    failed: dict[str, str] = {}
    while requests:
        try:
            for out, reason in decoder.transcode(path, requests):
                requests = requests[1:]
                clip_id, target = targets[out]
                if reason:
                    failed[clip_id] = reason
                    Path(out).unlink(missing_ok=True)
                else:
                    _publish(Path(out), target)
        except DecodingError as error:
            if not requests:
                break  # all clips were written before
            # The clip at which the decoder broke down; the others may still be had.
            out = requests[0]["out"]
            failed[targets[out][0]] = str(error)
            Path(out).unlink(missing_ok=True)
            requests = requests[1:]
    return failed


def _publish(temporary: Path, target: Path) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, target)
