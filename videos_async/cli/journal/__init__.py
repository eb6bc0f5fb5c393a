"""The command ``journal``: what a batch wrote down, and what is to become of its doubts."""

from __future__ import annotations

from videos_async.cli.journal._command import journal

__all__ = ["journal"]
