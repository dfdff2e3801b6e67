"""The code of the tutorials and how-to pages is run as it stands there, and prints what they show.

A page takes part by `executed: fast` or `executed: slow` (more than ten seconds) in its head.
Python blocks of a page share one namespace, its bash blocks the folder; a `text` block right behind
one is what it prints, `...` standing for anything. `<!-- not run: why -->` before a block leaves it
out.
"""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests import processes

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"(?P<skip><!-- not run: .+? -->\n)?```(?P<kind>python|bash)\n(?P<code>.*?)```"
    r"(?:\n\n```text\n(?P<shown>.*?)```)?",
    re.DOTALL,
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def executed(page):
    """Return `fast`, `slow` or None, as the head of a page says."""
    head = re.match(r"---\n(?:.*\n)*?executed: (fast|slow)\n(?:.*\n)*?---\n", page.read_text())
    return head and head[1]


PAGES = [p for p in sorted(DOCS.rglob("*.md")) if executed(p)]


def run_python(code, space, name):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a reader sees them, and goes on
        exec(compile(code, name, "exec"), space)
    return out.getvalue()


def run_bash(code, commands):
    env = {
        **os.environ,
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, f"{code}\n{ran.stdout}"
    return ran.stdout


@pytest.fixture(scope="module")
def commands():
    with processes.on_path() as folder:
        yield folder


def page_parameters():
    marks = {"fast": (), "slow": (pytest.mark.slow,)}
    return [pytest.param(p, id=str(p.relative_to(DOCS)), marks=marks[executed(p)]) for p in PAGES]


@pytest.mark.parametrize("page", page_parameters())
def test_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch, asset, commands):
    text = page.read_text()
    for name in re.findall(r"fetch_assets\.py (\w+)", text):
        asset(name)
    if "/usr/share/openclipart" in text and not Path("/usr/share/openclipart").is_dir():
        pytest.skip("the Debian package openclipart-png is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    space, ran = {"__name__": "page"}, 0
    for block in BLOCK.finditer(text):
        if block["skip"]:
            continue
        code, ran = block["code"], ran + 1
        bash = block["kind"] == "bash"
        output = run_bash(code, commands) if bash else run_python(code, space, page.name)
        if block["shown"] is not None:
            right = doctest.OutputChecker().check_output(block["shown"], output, FLAGS)
            assert right, f"{code}\nprints\n{output}\nand the page shows\n{block['shown']}"
    assert ran, "no block was run"


@pytest.mark.parametrize("folder", ["tutorials", "how-to"])
def test_every_page_says_how_it_is_checked(folder):
    pages = sorted((DOCS / folder).glob("*.md"))
    assert pages
    silent = [p.name for p in pages if not executed(p) and "tests/" not in p.read_text()]
    assert not silent, "neither executed here nor naming the test that runs it"


def test_how_to_pages_are_short():
    assert not [
        p.name for p in (DOCS / "how-to").glob("*.md") if len(p.read_text().splitlines()) > 60
    ]


def test_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)]+)\)", text)]
    gone = [t for t in targets if t and "://" not in t and not (ROOT / t).exists()]
    assert not gone
