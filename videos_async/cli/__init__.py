"""The command ``videos-async``: one video, or many tasks watched, from a terminal or a script.

Needs the extra ``cli``. This file loads without it, to be able to say so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]

_EXTRA = frozenset({"cyclopts", "rich"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; by default what the process was given.

    Returns:
        The exit code: 0 done, 1 generation failed, 2 bad input, 3 uncertain submission,
        4 network or service, 70 a bug of this command, 130 interrupted.
    """
    try:
        # Not at the top: without the extra this must still load.
        from videos_async.cli._app import run_app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sentence = "the command needs its extra: install it with pip install 'videos-async[cli]'"
        print(f"videos-async: {sentence}", file=sys.stderr)
        return 2
    return run_app(sys.argv[1:] if arguments is None else arguments)
