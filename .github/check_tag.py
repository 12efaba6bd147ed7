"""Exit with 1 where a tag, `v1.2.3`, is not the version in debft/__init__.py, or the changelog has no entry for it."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def problem(tag: str) -> str | None:
    """Return what is wrong with a tag, or None."""
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "debft/__init__.py").read_text(encoding="utf-8"))
    if version is None or tag != f"v{version[1]}":
        return f"{tag}: expected v{version[1] if version else '?'}, the version in debft/__init__.py"
    if not re.search(rf"^## \[?v?{re.escape(version[1])}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE):
        return f"{tag}: expected a heading `## {version[1]}` in CHANGELOG.md, found none"
    return None


if __name__ == "__main__":
    sys.exit(problem(sys.argv[1]))
