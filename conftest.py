"""Import the package whole before pytest takes its files one by one for their doctests: a module loaded twice has two of every class."""

import numpy as np
import pytest

import coreset  # noqa: F401

collect_ignore = [
    "coreset/pipeline/juicer/operators.py"
]  # the plug-in: Data-Juicer imports it, and it imports Data-Juicer (9 s)
PRINTED = np.get_printoptions()


@pytest.fixture(autouse=True)
def numbers_print_as_numpy_prints_them():
    """Undo what ultralytics does to numpy where it is imported."""
    np.set_printoptions(**PRINTED)  # type: ignore[arg-type]
