"""Run where LightlyStudio is: load, tag every fourth image in the order, dump."""

import importlib.util
import os
import sys
from pathlib import Path

script, rows, back = sys.argv[1:]
os.chdir(Path(rows).parent)
spec = importlib.util.spec_from_file_location("handoff", script)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.main(["load", rows])
import lightly_studio as ls  # noqa: E402

for sample in ls.ImageDataset.load("coreset"):
    if sample.metadata["priority"] % 4 == 0:
        sample.add_tag("drop")
module.main(["dump", back])
