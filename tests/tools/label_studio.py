"""A Label Studio server in an environment of its own, and what an annotator does on it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from filelock import FileLock

from tests.tools import envs

TOKEN = "0123456789abcdef0123456789abcdef01234567"
EXTRA = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0}


def empty(python: str) -> Path:
    """Return a folder with an empty data base. Making its tables takes Label Studio two minutes, so
    that this is done once for each of its versions: `python -m tests.tools.label_studio`, else by
    the first test that needs one.
    """
    home = Path(python).parents[1]
    version = next(home.glob("lib/*/site-packages/label_studio-*.dist-info")).stem
    folder = home / f"empty-{version}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = Path(f"{folder}.making")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            with running(python, part):
                pass
            part.rename(folder)
    return folder


@contextmanager
def server(python: str, folder: Path) -> Iterator[httpx.Client]:
    """Yield a client of a fresh server whose data lie in `folder`."""
    shutil.copytree(empty(python), folder, dirs_exist_ok=True)
    with running(python, folder) as client:
        yield client


@contextmanager
def running(python: str, folder: Path) -> Iterator[httpx.Client]:
    """Yield a client of a server on the data in `folder`."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    about = {
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
    }
    command = [
        str(Path(python).parent / "label-studio"),
        "start",
        "--no-browser",
        "--port",
        str(port),
        "--username",
        "a@b.co",
        "--password",
        "secret-1234",
        "--user-token",
        TOKEN,
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **about}, stdout=log, stderr=log, cwd=folder
        )
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Token {TOKEN}"},
        timeout=120,
    )
    try:
        for _ in range(1800):  # its first start makes a database, on few and busy cores
            try:
                if client.get("/health").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        else:
            raise AssertionError((folder / "server.log").read_text()[-2000:])
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(20)


def project(client: httpx.Client, config: str, tasks: list[dict]) -> tuple[int, list[dict]]:
    """Make a project, import tasks; return its number and the tasks as the server holds them."""
    number = (
        client.post("/api/projects", json={"title": "round", "label_config": config})
        .raise_for_status()
        .json()["id"]
    )
    client.post(f"/api/projects/{number}/import", json=tasks).raise_for_status()
    return number, tasks_of(client, number)


def tasks_of(client: httpx.Client, number: int) -> list[dict]:
    """Return the tasks of a project as the server holds them, with their annotations."""
    held: list[dict] = []
    page = 1
    while True:
        answer = (
            client.get(
                "/api/tasks",
                params={"project": number, "page": page, "page_size": 200, "fields": "all"},
            )
            .raise_for_status()
            .json()
        )
        held += answer["tasks"]
        if len(held) >= answer["total"]:
            return held
        page += 1


def annotate(client: httpx.Client, task: int, result: list[dict], skip: bool = False) -> dict:
    """Label a task, or skip it; return the annotation."""
    body = {"result": result, "was_cancelled": skip}
    return client.post(f"/api/tasks/{task}/annotations", json=body).raise_for_status().json()


def export(client: httpx.Client, number: int, kind: str, **more: str) -> bytes:
    """Return an export of a project."""
    return (
        client.get(f"/api/projects/{number}/export", params={"exportType": kind, **more})
        .raise_for_status()
        .content
    )


if __name__ == "__main__":
    empty(envs.python_of("label-studio"))
