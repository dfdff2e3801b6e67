"""Import the package whole before pytest takes its files one by one for their doctests: a module
loaded twice has two of every class.
"""

import gc

import numpy as np
import pytest
from PIL import Image

import coreset  # noqa: F401

collect_ignore = [
    # the plug-in: Data-Juicer imports it, and it imports Data-Juicer (9 s)
    "coreset/curation/data_juicer/operators.py",
    "coreset/curation/nemo_curator.py",  # imports NeMo Curator, which has an environment of its own
]
PRINTED, OPEN = np.get_printoptions(), Image.open


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for garbage only among what comes later: nothing imported and collected ever is."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure():
    """Let go of what was imported, before libraries count what is left of theirs."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def numpy_and_pillow_as_they_are():
    """Undo what ultralytics does to them where it is imported."""
    np.set_printoptions(**PRINTED)  # type: ignore[arg-type]
    Image.open = OPEN
