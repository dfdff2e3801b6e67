"""Pages of results with a section for every benchmark."""

from pathlib import Path

from coreset.core.store import write_atomic


def write_section(path: Path, section: str) -> None:
    """Put a section, whose first line is its heading, into a page in place of the one with that
    heading, or at its end; it reaches to the next heading of the second level.
    """
    whole = path.read_text(encoding="utf-8") if path.exists() else ""
    head = section.split("\n", 1)[0]
    before, _, rest = whole.partition(f"{head}\n")
    _, mark, after = rest.partition("\n## ")
    write_atomic(path, f"{before.rstrip()}\n\n{section}{mark}{after}".lstrip())
