"""Runs the chapters and builds the book. No physics here, and dmftlib imports none of it."""

from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent


class ToolError(click.ClickException):
    """Something that the reader can put right; shown as one message, without a traceback."""
