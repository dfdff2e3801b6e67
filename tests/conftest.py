"""Fixtures of several folders of tests."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from tests.tools import envs, label_studio

collect_ignore_glob = ["tools/*"]  # programs of other environments

SCRIPTS = Path(__file__).parent.parent / "scripts"


def script(path: str):
    """Return a script as a module, with sys.path as it was."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(path).stem}", SCRIPTS / path)
    # dataclasses look it up there
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="session")
def asset():
    """A function: the folder of a fetched asset by its name. Where it is not there, a user's test
    is skipped, with the line that fetches it, and CI's fails.
    """
    from coreset.core.cache import asset_dir

    def find(name: str) -> Path:
        try:
            return asset_dir(name)
        except FileNotFoundError as error:
            if os.environ.get("CI", "").lower() in ("1", "true"):
                pytest.fail(str(error))
            pytest.skip(str(error))

    return find


@pytest.fixture(scope="module")
def s3():
    """The bucket `rows` of an S3 server; it fails now and then where `Faulty.every` says so."""
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="the extra `stores` is not installed")
    from tests.stores import s3_server

    with s3_server() as bucket:
        yield bucket


@pytest.fixture(scope="session")
def annotation_server(tmp_path_factory):
    """A client of a Label Studio server; tests share it, each with projects of its own."""
    python = envs.python_of("label-studio")
    with label_studio.server(python, tmp_path_factory.mktemp("label_studio")) as client:
        yield client


@pytest.fixture(scope="session")
def stamps():
    """The module scripts/stamps.py, which makes detection and segmentation data."""
    module = script("stamps.py")
    if not module.STAMPS.is_dir():
        pytest.skip(
            "the Debian package tuxpaint-stamps-default is not installed: apt-get install"
            " tuxpaint-stamps-default"
        )
    return module


@pytest.fixture(scope="session")
def stamps_folder(stamps, tmp_path_factory):
    """30 + 10 images of 96 x 72 pixels with objects of three classes."""
    return stamps.build(tmp_path_factory.mktemp("stamps"), 30, 10, size=(96, 72), classes=3, most=2)
