"""``python -m videos_async.cli``: the command where its script is not on the path."""

from __future__ import annotations

import sys

from videos_async.cli import main

if __name__ == "__main__":
    sys.exit(main())
