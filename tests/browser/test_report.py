"""The report's page in headless Chromium: it renders, asks for nothing, complains of nothing, and fits a phone.

With `IRV2_SCREENSHOTS=FOLDER` in the environment every page leaves its pictures there, for people to look at.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import calibration_data
from convert.drift.comparison import Comparison
from convert.drift.predictions import Predictions
from convert.reporting import html as page
from tests.browser.chromium import Page, keep_screenshot
from tests.convert.comparisons import DEVICE, HOSTILE, comparison, everything, report

pytestmark = pytest.mark.browser

PHONE, DESKTOP = 390, 1280
LABELS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
WIDEST = "[document.scrollingElement.scrollWidth, innerWidth]"
OUTSIDE = """[...document.querySelectorAll("body *")].filter(each => {
    const box = each.getBoundingClientRect();
    return !each.closest(".scroll, .stacked thead") && box.width && (box.left < -0.5 || box.right > innerWidth + 0.5);
}).map(each => each.outerHTML.slice(0, 200))"""
CUT = """[...document.querySelectorAll("p, li, dt, dd, td, th, b, figcaption")].filter(
    each => !each.closest(".scroll, .bars, thead") && each.scrollWidth > each.clientWidth + 1
        && getComputedStyle(each).display != "inline"
).map(each => each.outerHTML.slice(0, 200))"""
VERDICT_WIDTH = """(() => {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector("h1").lastChild);
    return range.getBoundingClientRect().width;
})()"""
TALLEST_ROW = "Math.max(0, ...[...document.querySelectorAll('.matrix tbody tr')].map(each => each.offsetHeight))"
STICKING_OUT_ON_PAPER = """[...document.querySelectorAll("table, td, th, img, svg, dl, ul, ol")].filter(each => {
    const box = each.getBoundingClientRect();
    return box.width && (box.left < -0.5 || box.right > innerWidth + 0.5);
}).map(each => each.outerHTML.slice(0, 200))"""
HIDDEN_ON_PAPER = """[...document.querySelectorAll("details > :not(summary), .name span")].filter(
    each => each.textContent && (!each.checkVisibility() || each.scrollWidth > each.clientWidth + 1)
        && getComputedStyle(each).display != "inline"
).map(each => each.outerHTML.slice(0, 200))"""
NAME_ENDS = """[...document.querySelectorAll(".name")].map(each => {
    const [beginning, end] = each.children;
    return [beginning.scrollWidth > beginning.clientWidth, end.scrollWidth <= end.clientWidth + 1, end.textContent];
})"""
"""Of each name: whether its beginning is cut, whether its end is whole, and the end."""
BROKEN = "[...document.images].filter(each => !each.naturalWidth).map(each => each.alt)"
INK_AND_GROUND = """(() => {
    const brush = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const bytes = colour => {
        brush.clearRect(0, 0, 1, 1);
        brush.fillStyle = colour;
        brush.fillRect(0, 0, 1, 1);
        return [...brush.getImageData(0, 0, 1, 1).data];
    };
    const ground = each => {
        for (; each; each = each.parentElement) {
            const colour = bytes(getComputedStyle(each).backgroundColor);
            if (colour[3] == 255) return colour;
        }
    };
    const pairs = [...document.querySelectorAll("body *")]
        .filter(each => [...each.childNodes].some(child => child.nodeType == 3 && child.data.trim()))
        .map(each => {
            const style = getComputedStyle(each);
            return [each.closest("svg") ? style.fill : style.color, ground(each)];
        });
    return [...new Set(pairs.map(([ink, ground]) => JSON.stringify([bytes(ink), ground])))].map(JSON.parse);
})()"""
"""Every pair of colours, in bytes, that text and what lies behind it have on the page."""


def clothing() -> Comparison:
    """The bundled pictures, and two made-up networks that tell them apart fairly well."""
    paths = sorted(calibration_data.VALIDATION.glob("*/*.png"))
    folders = sorted({path.parent.name for path in paths})
    truth = [folders.index(path.parent.name) for path in paths]
    labels = tuple(sorted(LABELS, key=lambda label: label.lower().replace("/", "-").replace(" ", "-")))
    random = np.random.default_rng(3)
    logits = random.normal(0, 1, (len(paths), 10))
    logits[np.arange(len(paths)), truth] += 3
    noisy = logits + random.normal(0, 0.15, logits.shape)
    reference, candidate = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, noisy))
    return Comparison(
        Predictions(tuple(paths), reference.astype(np.float32), labels),
        Predictions(tuple(paths), candidate.astype(np.float32), labels),
        truth,
    )


def thousand_classes() -> Comparison:
    """Long labels, unlabelled images in one flat folder that is not there."""
    random = np.random.default_rng(4)
    logits = random.normal(0, 1, (2000, 1000))
    logits[np.arange(2000), random.integers(0, 1000, 2000)] += 5
    noisy = logits + random.normal(0, 0.3, logits.shape)
    reference, candidate = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, noisy))
    labels = tuple(f"n{i:08} some_kind_of_long_label_without_a_space_{i}, another name of it" for i in range(1000))
    paths = tuple(Path(f"/nowhere/{'very_long_name' * 5}_{i}.jpg") for i in range(2000))
    answers = (Predictions(paths, x.astype(np.float32), labels) for x in (reference, candidate))
    return Comparison(*answers, None)


def one_image_of_a_thousand_classes() -> Comparison:
    """As the public samples of ImageNet have them; the answers to 17 images change."""
    truth = list(range(1000))
    changed = [(each + 1) % 1000 if each % 60 == 0 else each for each in truth]
    return comparison(truth, changed, truth, labels=[f"folded class {i:03}" for i in range(1000)])


def many_pairs(classes: int) -> Comparison:
    """A matrix of so many classes with long names."""
    truth = [i % classes for i in range(900)]
    changed = [(each + i % 7 * (i % 5 == 0)) % classes for i, each in enumerate(truth)]
    return comparison(truth, changed, truth, labels=[f"a class with a long name, number {i}" for i in range(classes)])


def hostile(folder: Path) -> Comparison:
    """Files and labels called what an attacker would call them."""
    source = min(calibration_data.VALIDATION.glob("bag/*.png"))
    paths = []
    for name in HOSTILE:
        encodable = name.replace("/", "_").replace("\0", "_").replace("\ud800", "_")
        paths.append(folder / f"{encodable}.png")
        shutil.copyfile(source, paths[-1])
    n = len(paths)
    probabilities = np.full((n, n), 0.1 / (n - 1), np.float32)
    probabilities[np.arange(n), np.arange(n)] = 0.9
    reference = Predictions(tuple(paths), probabilities, HOSTILE)
    candidate = Predictions(tuple(paths), np.roll(probabilities, 1, axis=1), HOSTILE)
    return Comparison(reference, candidate, list(range(n)))


def rotated(folder: Path) -> Comparison:
    """A photograph whose file lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (600, 300), "teal").save(folder / "side.jpg", exif=exif)
    rows = np.array([[0.9, 0.1]], np.float32)
    paths = (folder / "side.jpg",)
    return Comparison(Predictions(paths, rows, ("a", "b")), Predictions(paths, rows[:, ::-1], ("a", "b")), [0])


def of_clothing() -> tuple[dict[str, Any], Comparison, list[dict[str, Any]]]:
    """Everything that a page can have."""
    compared = clothing()
    others = [report(None, scheme="none"), report(compared, scheme="dynamic")]
    return everything(compared), compared, others


PAGES: dict[str, Callable[[Path], str]] = {
    "everything": lambda folder: page.render(*of_clothing()),
    "no-thumbnails": lambda folder: page.render(*of_clothing(), thumbnails=False),
    "thousand-classes": lambda folder: page.render(report(compared := thousand_classes()), compared),
    "one-image-each": lambda folder: page.render(everything(compared := one_image_of_a_thousand_classes()), compared),
    "fourteen-classes": lambda folder: page.render(report(compared := many_pairs(14)), compared),
    "thirty-classes": lambda folder: page.render(report(compared := many_pairs(30)), compared),
    "hostile": lambda folder: page.render(everything(compared := hostile(folder)), compared),
    "device": lambda folder: page.render(report(compared := clothing()) | {"device": DEVICE}, compared),
    "not-measured": lambda folder: page.render(report(None), None),
}


@pytest.fixture(scope="module", params=PAGES)
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page, written as `irv2-convert` writes it."""
    folder = tmp_path_factory.mktemp(request.param)
    return page.write(PAGES[request.param](folder), folder / f"{request.param}.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_renders_and_fits(tab: Page, shown: Path, width: int, scheme: str) -> None:
    tab.show(shown, width, scheme=scheme)
    keep_screenshot(tab, f"{shown.stem}-{width}-{scheme}")
    assert tab.complaints == []
    assert tab.requests == [shown.as_uri()], "nothing but the page itself"
    assert tab.value(BROKEN) == []
    scroll_width, inner_width = tab.value(WIDEST)
    assert scroll_width <= inner_width == width
    assert tab.value(OUTSIDE) == []
    assert tab.value(CUT) == []
    assert tab.value("document.querySelector('h1').getBoundingClientRect().bottom") < 300, "the verdict comes first"
    assert tab.value(TALLEST_ROW) < 120, "labels are set in words, not in letters"
    assert tab.value(VERDICT_WIDTH) > 50, "there are letters to see"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(tab: Page, shown: Path, scheme: str) -> None:
    """4.5 to 1 at least, as WCAG 2.1 (success criterion 1.4.3) asks for."""
    tab.show(shown, DESKTOP, scheme=scheme)
    pairs = tab.value(INK_AND_GROUND)
    assert len(pairs) >= 4, "the case itself"
    assert [(ink, ground) for ink, ground in pairs if contrast(ink, ground) < 4.5] == []


def test_every_picture_is_there(tab: Page, tmp_path: Path) -> None:
    report_, compared, others = of_clothing()
    tab.show(page.write(page.render(report_, compared, others), tmp_path / "page.html"), PHONE)
    expected = min(len(compared.changed), page.MOST_FLIPS)
    assert expected > 5, "the case itself"
    assert tab.value("document.images.length") == expected
    assert tab.value("[...document.images].every(each => each.complete && each.naturalWidth == 28)")


def test_a_picture_on_its_side_is_upright(tab: Page, tmp_path: Path) -> None:
    compared = rotated(tmp_path)
    tab.show(page.write(page.render(report(compared), compared), tmp_path / "page.html"), PHONE)
    assert tab.value("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == [112, 224]


def test_hostile_names_run_nothing(tab: Page, tmp_path: Path) -> None:
    compared = hostile(tmp_path)
    tab.show(page.write(page.render(everything(compared), compared), tmp_path / "page.html"), DESKTOP)
    assert tab.value("document.scripts.length") == 0
    assert tab.value("document.images.length") == len(HOSTILE)
    assert "<script>alert(1)<" in tab.value("document.body.innerText"), "shown as it is"
    assert tab.complaints == []


def test_a_script_would_not_run(tab: Page, tmp_path: Path) -> None:
    """Should a name ever slip through, the page's policy still stops it; and the tests would see it complain."""
    html = page.render(report(None), None).replace("</main>", "<script>document.title = 'ran'</script></main>")
    tab.show(page.write(html, tmp_path / "page.html"), DESKTOP)
    assert tab.value("document.title") == "Not measured: net.int8.tflite"
    assert "Content Security Policy" in "".join(tab.complaints)


def test_a_picture_from_elsewhere_would_not_load(tab: Page, tmp_path: Path) -> None:
    html = page.render(report(None), None).replace("</main>", "<img src='http://127.0.0.1:9/x.png'></main>")
    tab.show(page.write(html, tmp_path / "page.html"), DESKTOP)
    assert "Content Security Policy" in "".join(tab.complaints)


def test_the_page_prints(tab: Page, shown: Path, tmp_path: Path) -> None:
    """Dark ink on white paper, whatever the screen is."""
    tab.show(shown, DESKTOP, scheme="dark")
    tab.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    tab.as_printed()
    assert tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.value(STICKING_OUT_ON_PAPER) == [], "no table is cut at the edge"
    assert tab.value(HIDDEN_ON_PAPER) == [], "whatever can be folded is open, and names are whole"
    tab.as_printed(False)


def test_what_is_printed_is_what_was_folded(tab: Page, tmp_path: Path) -> None:
    """The PDF of a page grows by pages where a list of 1,000 classes is in it."""
    compared = one_image_of_a_thousand_classes()
    html = page.render(report(compared), compared, thumbnails=False)
    pages = []
    for number, each in enumerate((html, re.sub('<ul class="unchanged">.*?</ul>', "", html, flags=re.DOTALL))):
        tab.show(page.write(each, tmp_path / f"{number}.html"), DESKTOP)
        tab.print(tmp_path / f"{number}.pdf")
        pages.append(len(re.findall(rb"/Type\s*/Page\b", (tmp_path / f"{number}.pdf").read_bytes())))
    assert pages[0] >= pages[1] + 2


def test_a_folded_class_is_found(tab: Page, tmp_path: Path) -> None:
    """A text fragment of an address opens what it is in, as find in page does."""
    compared = one_image_of_a_thousand_classes()
    file = page.write(page.render(report(compared), compared, thumbnails=False), tmp_path / "page.html")
    tab.show(file, DESKTOP)
    assert tab.value("document.querySelectorAll('details[open]').length") == 0
    again = shutil.copyfile(file, tmp_path / "again.html")
    tab.show(again, DESKTOP, fragment=":~:text=folded%20class%20999")
    assert tab.value("document.querySelector('details[open]')?.querySelector('summary').textContent") == "983 classes"


def test_an_explanation_opens_beside_its_figure(tab: Page, tmp_path: Path) -> None:
    report_, compared, _ = of_clothing()
    tab.show(page.write(page.render(report_, compared), tmp_path / "page.html"), DESKTOP)
    visible = "document.querySelector('.mark dl').checkVisibility()"
    assert not tab.value(visible)
    tab.value("document.querySelector('.mark summary').click()")
    assert tab.value(visible)
    assert tab.value("document.querySelector('.mark summary').getBoundingClientRect().width") >= 24, "for a thumb"


def test_a_long_name_is_cut_in_its_middle(tab: Page, tmp_path: Path) -> None:
    compared = thousand_classes()
    tab.show(page.write(page.render(report(compared), compared), tmp_path / "page.html"), PHONE)
    ends = tab.value(NAME_ENDS)
    assert len(ends) == page.MOST_FLIPS
    assert all(beginning_is_cut and end_is_whole for beginning_is_cut, end_is_whole, _ in ends)
    assert len({end for _, _, end in ends}) == page.MOST_FLIPS, "each keeps what tells it apart"


def contrast(one: list[int], other: list[int]) -> float:
    """Contrast ratio of two colours in bytes, by WCAG 2.1."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[int]) -> float:
    """Relative luminance, 0 to 1, by WCAG 2.1."""
    channels = np.array(colour[:3]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
