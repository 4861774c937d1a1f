"""The README's pictures, from a real conversion: what irv2-convert prints as SVG, and the top of its report as PNG.

    python scripts/readme_pictures.py --model efficientnet-lite0.keras --labels labels.txt --preprocessing lite.json \
        --fit imagenet-tf --calibration photos/calibration --validation photos/validation

Options are irv2-convert's, but for --output-dir. No photograph is shown: --no-thumbnails is added. Chromium comes from
apt.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME, TerminalTheme
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout

from tests.browser.chromium import Page, browser

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "images"
THEMES = {"light": DEFAULT_TERMINAL_THEME, "dark": SVG_EXPORT_THEME}
COLUMNS = 100
FONTS, BORDER = "ui-monospace, Menlo, Consolas, Liberation Mono", "rgba(128,128,128,0.5)"
"""Of the terminal: fonts that readers have, and a border that is seen on white, too."""
WIDTH, HEIGHT = 1000, 720
"""Of the report's part that is shown, in CSS pixels."""
COLOURS = 128
"""Of the palette of a screenshot, which makes it a third as large."""


def main() -> None:
    """Convert, and write the four pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        printed = converted(sys.argv[1:], Path(folder))
        for scheme, theme in THEMES.items():
            (PICTURES / f"terminal-{scheme}.svg").write_text(terminal(printed, theme), "utf-8")
        page = next(Path(folder).rglob("*.report.html"))
        with browser(ROOT / "build" / "browser") as tab:
            for scheme in THEMES:
                screenshot(tab, page, scheme).save(PICTURES / f"report-{scheme}.png", optimize=True)


def converted(options: list[str], folder: Path) -> str:
    """What irv2-convert prints with these options, in colour, below the command itself."""
    command = [Path(sys.executable).with_name("irv2-convert"), *options, "--no-thumbnails"]
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        [*command, "--output-dir", folder / "build"], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    typed = shlex.join(options).replace(" --labels", " \\\n    --labels", 1)
    typed = typed.replace(" --calibration", " \\\n    --calibration", 1)
    return f"\x1b[1m$ irv2-convert {typed}\x1b[0m\n\n{done.stdout.replace(f'{folder}/', '')}"


def terminal(printed: str, theme: TerminalTheme) -> str:
    """A terminal's contents as an SVG picture that loads nothing."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed.rstrip()), soft_wrap=False)
    picture = console.export_svg(title="irv2-convert", theme=theme, unique_id="terminal")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).replace("Fira Code", FONTS)
    return picture.replace("rgba(255,255,255,0.35)", BORDER)


def screenshot(tab: Page, page: Path, scheme: str) -> Image.Image:
    """The top of a page on a screen that is light or dark, at twice its size in CSS pixels."""
    tab.show(page, WIDTH, HEIGHT, scheme)
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": False}
    tab.call("Emulation.setDeviceMetricsOverride", **size)
    picture = tab.call("Page.captureScreenshot")
    return Image.open(io.BytesIO(base64.b64decode(picture["data"]))).convert("RGB").quantize(COLOURS)


if __name__ == "__main__":
    main()
