"""The documentation as a site: `make docs` writes build/site, with every warning an error.

Pages are the Markdown of docs/ and of what `PLACES` names. They link to each other as they lie in the repository, so
that links work there, too; here they are turned to where the pages are in the site. Pages that the code itself writes
are made anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, where it is not installed

from scripts import command_reference, figures_reference

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
SOURCE, CONFIGURATION = BUILD / "site-source", BUILD / "mkdocs.yml"
GENERATED = {
    ROOT / "docs" / "commands.md": command_reference.markdown,
    ROOT / "docs" / "figures.md": figures_reference.markdown,
}
"""Page, as others link to it -> what writes it."""
PLACES = {
    "docs": ".",
    "benchmarks": "benchmarks",
    "edge_runtime/README.md": "devices/runtime.md",
    "calibration_data/README.md": "project/bundled-images.md",
    "calibration_data/LICENSE": "project/bundled-images-licence.txt",
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
}
"""Where files of the repository are in the site; of a folder, its Markdown, its pictures and its files to copy."""
SUFFIXES = (".md", ".svg", ".png", ".webp", ".css", ".yml")
LINK = re.compile(r"(\]\(|src=\"|srcset=\"|href=\")([^)\"\s#]+)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def places() -> dict[Path, Path]:
    """File of the repository -> its place in the site."""
    found = {page: Path(page.name) for page in GENERATED}
    for name, place in PLACES.items():
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file == path or file.suffix in SUFFIXES:
                found[file] = Path(os.path.normpath(Path(place) / (file.relative_to(path) if path.is_dir() else "")))
    return found


def in_site(text: str, source: Path, found: dict[Path, Path]) -> str:
    """A page's Markdown with its links turned to where their targets are in the site."""

    def turned(match: re.Match[str]) -> str:
        before, target = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        place = found.get(Path(os.path.normpath(source.parent / target)))
        if place is None:
            sys.exit(f"{source.relative_to(ROOT)}: {target} is not in the site")
        return before + os.path.relpath(place, found[source].parent)

    code = FENCE.findall(text)
    prose = [LINK.sub(turned, part) for part in FENCE.split(text)]
    return "".join(part for pair in zip(prose, [*code, ""], strict=True) for part in pair)


def gather() -> None:
    """Lay out the site's source, and its configuration."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    found = places()
    for source, place in found.items():
        target = SOURCE / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source in GENERATED:
            target.write_text(GENERATED[source](), "utf-8")
        elif source.suffix == ".md":
            target.write_text(in_site(source.read_text("utf-8"), source, found), "utf-8")
        else:
            shutil.copyfile(source, target)
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    settings |= {"docs_dir": SOURCE.name, "site_dir": "site"}
    CONFIGURATION.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), "utf-8")


if __name__ == "__main__":
    gather()
    action = ["serve"] if sys.argv[1:] == ["serve"] else ["build", "--clean", "--strict"]
    program = Path(sys.executable).with_name("zensical")
    sys.exit(subprocess.run([program, *action, "--config-file", CONFIGURATION], check=False).returncode)
