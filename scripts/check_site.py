"""Check a built site offline: `python scripts/check_site.py site`.

Every link of its own leads to a page and an anchor that exist, and nothing is loaded from another
host.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


class _Page(HTMLParser):
    """Anchors, links and loaded addresses of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag names or points to."""
        values = {k: v for k, v in attrs if v is not None}
        self.anchors |= {values[k] for k in ("id", "name") if k in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in LOADS and LOADS[tag] in values and values.get("rel") != "canonical":
            self.loads.append(values[LOADS[tag]])


def problems(site: Path) -> list[str]:
    """Return a sentence for every broken link, missing anchor and address loaded from elsewhere."""
    pages = {p.resolve(): _Page(p.read_text(encoding="utf-8")) for p in site.rglob("*.html")}
    out = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute: it is served from anywhere
            continue
        where = path.relative_to(site.resolve())
        for address in page.links + page.loads:
            url = urlsplit(address)
            if url.scheme or url.netloc:
                if address in page.loads and url.scheme != "data":
                    out.append(f"{where}: loads {address} from another host")
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                out.append(f"{where}: {address} leads nowhere")
            elif (
                url.fragment and target in pages and not _has(pages[target], unquote(url.fragment))
            ):
                out.append(f"{where}: {address} has no such anchor")
    return sorted(set(out))


def _has(page: _Page, anchor: str) -> bool:
    return anchor in page.anchors or anchor.startswith("__")  # the theme's own switches


def main() -> int:
    """Print what is wrong; return 1 when anything is."""
    site = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    if not (site / "index.html").exists():
        print(f"{site}: no built site; run make docs", file=sys.stderr)
        return 1
    wrong = problems(site)
    print("\n".join(wrong) or f"{site}: links, anchors and hosts are right")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
