"""Scripts as modules."""

import importlib
import os
import sys

import pytest


@pytest.fixture
def imported():
    """Import a script by its dotted name; the path and the environment are as they were after the
    test.
    """
    path, environment = list(sys.path), dict(os.environ)
    yield importlib.import_module
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)
