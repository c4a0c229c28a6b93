"""`python -m deploy.dashboards`: write every dashboard's JSON; with `--check` only compare."""

from __future__ import annotations

import sys

from deploy.dashboards.boards import BOARDS, FILES
from deploy.dashboards.grafana import as_json


def main() -> int:
    """Write or compare; returns 1 where a committed file differs."""
    check = "--check" in sys.argv[1:]
    FILES.mkdir(parents=True, exist_ok=True)
    stale = []
    for board in BOARDS:
        path, text = FILES / f"{board.uid}.json", as_json(board)
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(str(path))
        elif not check:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name} is not what the code makes: run `make dashboards`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
