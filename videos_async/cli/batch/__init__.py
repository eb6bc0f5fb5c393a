"""``batch``: a file of prompts in, a directory of videos and one line per end out."""

from __future__ import annotations

from videos_async.cli.batch._command import batch

__all__ = ["batch"]
