"""`gallery.npz` in the run folder: what the report shows as pictures."""

from __future__ import annotations

import io

import numpy as np

from coreset.core.store import write_atomic
from coreset.trainers.loops.context import CHECKPOINT, RunContext


def write_gallery(context: RunContext) -> None:
    """Write the gallery of finished rounds; nothing when it is there or no round is finished."""
    path, done = context.folder.path / "gallery.npz", context.folder.done
    if path.exists() or not done:
        return
    context.learner.load(context.folder.round(done - 1) / CHECKPOINT)
    arrays = context.method.gallery(context)
    if arrays is None:
        return
    buffer = io.BytesIO()
    # its stubs take the keywords for its own
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())
