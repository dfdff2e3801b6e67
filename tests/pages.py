"""A page without the package's own scripts, which are checked to be no others."""

import base64
import hashlib
import json
import re
from importlib.resources import files

OWN = {
    (files("coreset.report") / "static" / n).read_text(encoding="utf-8")
    for n in ("vega-lite.js", "page.js")
}


def without_scripts(html: str) -> str:
    """Return a page without its scripts; assert that each is the package's own and allowed by its
    hash, that nothing else is allowed, and that its data are JSON.
    """
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    allowed = re.search(r"script-src ([^;]*);", html)
    assert allowed is not None
    assert set(scripts) <= OWN
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in scripts
    }
    assert set(allowed[1].split()) == (hashes or {"'none'"})
    data = re.findall(
        r'<script type="application/json" id="page-data">(.*?)</script>', html, re.DOTALL
    )
    for one in data:
        json.loads(one)
    rest = re.sub(
        r'<script>.*?</script>|<script type="application/json" id="page-data">.*?</script>',
        "",
        html,
        flags=re.DOTALL,
    )
    assert "<script" not in rest.lower()
    return rest
