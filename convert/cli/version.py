"""`--version` of the host's commands."""

from __future__ import annotations

import click

version_option = click.version_option(package_name="irv2-edge", message="%(prog)s %(version)s")
"""Adds `--version` to a command."""
