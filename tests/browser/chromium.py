"""A headless Chromium of Debian's, unpacked without any rights, and spoken to in its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from tests.devices.debian import unpack

PACKAGES = ("chromium-headless-shell", "fonts-liberation")
OPTIONS = (
    "--no-sandbox",  # which needs rights that a container does not have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
)
PATIENCE_S = 60
A4_INCHES, MARGIN_INCHES = (8.27, 11.69), 0.55
"""Of paper, and what the page's style leaves free on both sides."""
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
<dir>{root}/usr/share/fonts</dir>
<cachedir>{root}/fonts</cachedir>
<match><edit name="family" mode="append_last"><string>Liberation Sans</string></edit></match>
</fontconfig>
"""


@dataclass
class Page:
    """One tab, and what it has said so far.

    Attributes:
        complaints: messages of console and log, and exceptions.
        requests: addresses it asked for, but for `data:` ones.
    """

    connection: ClientConnection
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    loaded: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def open(cls, connection: ClientConnection) -> Self:
        """A new tab."""
        page = cls(connection)
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        return page

    def show(self, file: Path, width: int, height: int = 844, scheme: str = "light", fragment: str = "") -> None:
        """Load a file in a window of that many CSS pixels, on a screen that is light or dark."""
        self.complaints.clear()
        self.requests.clear()
        self.loaded = False
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=file.as_uri() + (f"#{fragment}" if fragment else ""))
        while not self.loaded:
            self._receive()

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is on the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, file: Path) -> None:
        """The whole page as a PNG file."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(picture["data"]))

    def print(self, file: Path) -> None:
        """The page as a PDF file, on A4 paper."""
        width, height = A4_INCHES
        options = {"printBackground": True, "preferCSSPageSize": True}
        paper = self.call("Page.printToPDF", **options, paperWidth=width, paperHeight=height)
        file.write_bytes(base64.b64decode(paper["data"]))

    def as_printed(self, shown: bool = True) -> None:
        """The page as it is on A4 paper, dark screens or not; or, if not `shown`, on the screen again."""
        if not shown:
            self.call("Emulation.setEmulatedMedia", media="")
            return
        inner = round(96 * (A4_INCHES[0] - 2 * MARGIN_INCHES))
        self.call("Emulation.setDeviceMetricsOverride", width=inner, height=1000, deviceScaleFactor=1, mobile=False)
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        self.call("Emulation.setEmulatedMedia", media="print", features=dark)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol; what happens meanwhile is noted."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.connection.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer}"
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=PATIENCE_S))
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self.loaded = True
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                self.requests += [] if url.startswith("data:") else [url]
            case "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters))
        return message


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A tab of a browser that is unpacked into `folder` and ends with the context.

    Args:
        folder: of the browser, filled by the first call; its profile is made anew below it.
    """
    root = unpack(PACKAGES, folder / "chromium")
    program = root / "usr" / "lib" / "chromium" / "chromium-headless-shell"
    command = [program, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_environment(root)) as process:
        try:
            with connect(_address(process), max_size=None, proxy=None) as connection:
                yield Page.open(connection)
        finally:
            process.terminate()


def _environment(root: Path) -> dict[str, str]:
    """The unpacked libraries before the machine's own, and the unpacked fonts alone: the same in every place."""
    fonts = root / "fonts.conf"
    fonts.write_text(FONTS.format(root=root))
    libraries = {file.parent for file in root.rglob("*.so*") if "gconv" not in file.parts}
    return {
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(map(str, sorted(libraries))),
        "FONTCONFIG_FILE": str(fonts),
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
    }


def _address(process: subprocess.Popen[str]) -> str:
    """Where the browser listens, which it says among what else it has to say."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        found = re.search(r"DevTools listening on (ws://\S+)", line)
        if found is not None:
            return found[1]
    raise RuntimeError(f"Chromium ended before it listened: {''.join(said)[-2000:]}")


def keep_screenshot(tab: Page, name: str) -> None:
    """Leave a picture of the whole page in `IRV2_SCREENSHOTS`, where the environment has it."""
    folder = os.environ.get("IRV2_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tab.screenshot(Path(folder) / f"{name}.png")
