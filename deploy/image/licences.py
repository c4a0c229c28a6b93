"""Print the licence texts of everything that is installed beside this interpreter."""

from __future__ import annotations

from importlib.metadata import Distribution, distributions


def main() -> None:
    """Print one section a distribution, ordered by name."""
    found = {dist.metadata["Name"].lower(): dist for dist in distributions()}
    for name in sorted(found):
        dist = found[name]
        told = dist.metadata.json
        licence = str(told.get("license_expression") or told.get("license") or "see below")
        print(f"{'=' * 100}\n{dist.metadata['Name']} {dist.version}: {licence.splitlines()[0]}\n")
        for text in _texts(dist):
            print(text.strip(), "\n")


def _texts(dist: Distribution) -> list[str]:
    words = ("licen", "copying", "notice")
    named = [f for f in dist.files or () if any(word in f.name.lower() for word in words)]
    files = [f for f in named if f.suffix not in (".py", ".pyc", ".so")]
    return [text for f in files if (text := f.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    main()
