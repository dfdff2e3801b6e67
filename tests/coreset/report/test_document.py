"""What stands in a row, an id, a class or a name never acts on a page: the policy of both pages,
and hostile words in every place.
"""

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from coreset.curation import curate
from coreset.curation.operators.threshold import Threshold
from coreset.report.curation import write_curation_report
from coreset.report.document import plain, policy
from coreset.report.page import write_report
from coreset.scorers.length import Length
from tests.pages import without_scripts

HOSTILE = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload='alert(1)'>", "a\x00b\x08c\x1bd\x9fe", "\u202egnp.exe\u202c",
    "\u2066x\u2069", "</style><style>*{display:none}", "</title><meta http-equiv=refresh content='0;url=http://localhost'>", "<!--", "]]><iframe src=//localhost>",
    "' onmouseover='alert(1)", "&#0;&lt;script&gt;", "$\\frac{1}{", "javascript:alert(1)", "<base href=//localhost>", "{{7*7}}<%= 7*7 %>",
)  # fmt: skip
TAGS = set(
    [
        "nav",
        "ol",
        "a",
        "mark",
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "div",
        "span",
        "small",
        "b",
        "i",
        "br",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "figure",
        "img",
        "figcaption",
        "dl",
        "dt",
        "dd",
        "ul",
        "li",
        "article",
        "footer",
        "code",
        "svg",
        "defs",
        "g",
        "path",
        "use",
        "rect",
        "text",
        "tspan",
        "clippath",
        "image",
        "polygon",
        "line",
        "lineargradient",
        "stop",
    ]
)


class Page(HTMLParser):
    """The tags and attributes of a page, as a browser sees them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.style, self.inside = [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "style":
            self.style.append(data)
        self.inside = None


def check(path):
    html = without_scripts(path.read_text(encoding="utf-8"))
    page = Page(html)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    assert {t for t, _ in page.tags} <= TAGS, {t for t, _ in page.tags} - TAGS
    for tag, attrs in page.tags:
        assert not [
            a for a in attrs if a.startswith("on") or a in ("srcdoc", "formaction", "action")
        ], (tag, attrs)
        for name in ("src", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(
                ("#", "data:image/png;base64,", "data:image/jpeg;base64,")
            )
        assert "url(http" not in (attrs.get("style") or "")
    metas = [a for t, a in page.tags if t == "meta"]
    policies = [a["content"] for a in metas if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert [a.get("http-equiv") for a in metas if "http-equiv" in a] == ["Content-Security-Policy"]
    assert html.index("Content-Security-Policy") < html.index("<style>")
    rules = dict(r.strip().split(" ", 1) for r in policies[0].split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert len(page.style) == 1
    digest = base64.b64encode(hashlib.sha256(page.style[0].encode()).digest()).decode()
    assert rules["style-src"] == f"'sha256-{digest}'"
    for plot in [*path.parent.glob("*.svg"), *(path.parent / "plots").glob("*.svg")]:
        import xml.etree.ElementTree as Tree

        # whole XML, without a program in it
        tree = Tree.fromstring(plot.read_text(encoding="utf-8"))
        assert not [e.tag for e in tree.iter() if e.tag.endswith(("script", "foreignObject"))]
    return html


@pytest.mark.filterwarnings("ignore:.*missing from font.*")
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_page_of_runs(write_run, tmp_path, hostile):
    runs = [
        write_run(f"run{i}", name, 0, {10: 0.5, 20: 0.6 + i / 100}, gallery=True, classes=(hostile, "dog"),
                  config={"data": {"name": hostile}, hostile: hostile})
        for i, name in enumerate((f"k{hostile}", "random"))
    ]  # fmt: skip
    for run in runs:
        gallery = dict(np.load(run / "gallery.npz"))
        gallery["thumb_ids"] = np.array([hostile] * len(gallery["thumb_ids"]))
        np.savez(run / "gallery.npz", **gallery)
    html = check(write_report(runs, tmp_path / "out"))
    assert len(html) > 5000


@pytest.mark.filterwarnings("ignore:.*missing from font.*")
def test_a_page_of_a_curation(tmp_path):
    """Hostile texts, ids, classes and reasons, among rows that are kept, dropped and refused."""
    rows = [{"id": f"{i} {h}", "text": h * (1 + i % 2)} for i, h in enumerate(HOSTILE)]
    rows += [{"id": f"bad {i}", "text": {h: h}} for i, h in enumerate(HOSTILE)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    done = curate([Length("text", "characters"), Threshold("text_characters", low=20)], tmp_path / "in.jsonl", tmp_path / "out")  # fmt: skip
    manifest = json.loads(json.dumps(done.manifest))
    for one in manifest["operators"]:
        one["name"] = f"{one['name']} {HOSTILE[0]}{HOSTILE[3]}"
        one["option"] = list(HOSTILE)
        for counts in [one["counts"]] if "counts" in one else []:
            counts["reasons"] = {f"{HOSTILE[1]} {r}": n for r, n in counts["reasons"].items()}
    manifest["versions"] = {h: h for h in HOSTILE}
    samples = {
        "kept": [
            {**r, "reason": HOSTILE[4], "duplicate_of": HOSTILE[5]}
            for r in next(iter(done.samples.values()))
        ]
    }
    html = check(write_curation_report(done.out, manifest, samples, None))
    assert "&lt;img src=x onerror" in html


@pytest.mark.filterwarnings("ignore:.*missing from font.*")
def test_pictures_of_a_curation(tmp_path):
    row = [{"id": h, "image": None, "preview": h, "state": "dropped", "reason": h} for h in HOSTILE]
    gallery = {
        "outcomes": [{"state": "dropped", "operator": h, "reason": h, "size": 3, "rows": row} for h in HOSTILE[:10]],
        "groups": [{"operator": HOSTILE[1], "size": 4, "groups": [{"size": 9, "rows": row}]}],
        "entries": {"seen": 2, "curve": np.array([[1.0, 90, 20], [2, 3, 3]]),
                    "head": [{"entry": h, "before": 9, "after": 2, "rows": row} for h in HOSTILE], "tail": []},
        "map": {"name": HOSTILE[0], "xy": np.random.default_rng(0).normal(size=(50, 2)), "kept": np.arange(50) < 20},
    }  # fmt: skip
    (tmp_path / "in.jsonl").write_text('{"id": "1", "text": "a"}\n')
    done = curate([Length("text")], tmp_path / "in.jsonl", tmp_path / "out")
    check(write_curation_report(done.out, done.manifest, done.samples, gallery))


def test_a_class_out_of_a_file_beside_the_runs_is_never_made(write_run, tmp_path, monkeypatch):
    """The settings of a run name classes of the folder it lies in, which would do something when
    they are imported: pages and exports only print their names.
    """
    marker = tmp_path / "was-run"
    for name in ("evil", "toy", "linear"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    target = {"_target_": "evil.Evil", "name": "evil"}
    run = write_run("run", "random", 0, {10: 0.5, 20: 0.6}, gallery=True, config={"strategy": target, "data": target, "model": target, "hydra": target})  # fmt: skip
    write_report([run], tmp_path / "out")
    (tmp_path / "in.jsonl").write_text('{"id": "1", "text": "a", "_target_": "evil.Evil"}\n')
    done = curate([Length("text")], tmp_path / "in.jsonl", tmp_path / "curated")
    manifest = {
        **done.manifest,
        "operators": [{**one, "_target_": "evil.Evil"} for one in done.manifest["operators"]],
    }
    write_curation_report(done.out, manifest, done.samples, None)
    assert not marker.exists()
    assert not {"evil", "toy", "linear"} & set(sys.modules)


def test_a_pickle_in_a_gallery_is_not_read(write_run, tmp_path):
    run = write_run("run", "random", 0, {10: 0.5, 20: 0.6})

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    np.savez(run / "gallery.npz", thumbs=np.array([Evil()], object))
    with pytest.raises(ValueError, match="not a readable gallery"):
        write_report([run], tmp_path / "out")
    assert not (tmp_path / "was-run").exists()


def test_words():
    assert plain("a\x00\u202e\ud800b") == "a\ufffd\ufffd\ufffdb"
    assert plain("tab\tline\nünïcode 你好 👩‍🚀") == "tab\tline\nünïcode 你好 👩‍🚀"
    assert policy(["a", "b"]).count("sha256-") == 2
