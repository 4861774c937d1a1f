"""1,000 ways to spoil a picture, each made from its number alone; bombs among them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

import numpy as np
from PIL import Image, features

from tests.hostile.damage import scrambled

COUNT = 1000
EDGE = 24
BOMB_EDGE = 9400
"""Squared it is just under the most pixels that are decoded; the next, those of a WebP."""

WEBP_BOMB_EDGE = 6700

BOMBS_EVERY = 25
"""One file of so many is a bomb."""

SIZES = (0, 1, 0xFF, 0xFFF, 0x7FFF, 0xFFFF, 100_000, 0x7FFFFFFF, 0xFFFFFFFF)


def picture_file(number: int) -> tuple[bytes, str]:
    """A spoiled picture, and in which way."""
    random = Random(number)
    if number % BOMBS_EVERY == 0:
        bomb = BOMBS[number // BOMBS_EVERY % len(BOMBS)]
        return bomb(random.choice((BOMB_EDGE, BOMB_EDGE, 50_000))), bomb.__name__
    names = sorted(sound_pictures())
    name = names[number % len(names)]
    way = WAYS[number // len(names) % len(WAYS)]
    return way(random, sound_pictures()[name]), f"{name} {way.__name__.strip('_')}"


@cache
def sound_pictures() -> dict[str, bytes]:
    """Small pictures in the five formats, in several kinds of each, and in AVIF where Pillow has it."""
    noise = np.random.default_rng(3).integers(0, 256, (EDGE, EDGE, 4), np.uint8)
    rgba = Image.fromarray(noise)
    rgb, grey = rgba.convert("RGB"), Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    avif = {"avif": _saved(rgb, "AVIF", exif=exif)} if features.check("avif") else {}
    return {
        **avif,
        "jpeg": _saved(rgb, "JPEG", exif=exif),
        "jpeg progressive": _saved(rgb, "JPEG", progressive=True, quality=95),
        "jpeg cmyk": _saved(rgb.convert("CMYK"), "JPEG"),
        "png": _saved(rgba, "PNG", exif=exif),
        "png palette": _saved(rgb.convert("P"), "PNG", transparency=3),
        "png 16 bit": _saved(grey, "PNG"),
        "webp": _saved(rgb, "WEBP", exif=exif),
        "webp lossless": _saved(rgba, "WEBP", lossless=True),
        "gif": _saved(rgb.convert("P"), "GIF", save_all=True, append_images=[rgb.convert("P")]),
        "tiff": _saved(rgb, "TIFF"),
        "tiff lzw": _saved(rgba, "TIFF", compression="tiff_lzw"),
        "tiff deflate": _saved(grey, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": _saved(rgb, "TIFF", compression="jpeg"),
    }


def _saved(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content))]


def _flipped(random: Random, content: bytes) -> bytes:
    return scrambled(random, content)


def _header(random: Random, content: bytes) -> bytes:
    """The first bytes, where sizes and counts are."""
    return scrambled(random, content[:64]) + content[64:]


def _sizes(random: Random, content: bytes) -> bytes:
    """What says how wide or high it is says something else, in either order of bytes, and with a right checksum."""
    spoiled = bytearray(content)
    for layout in (">I", "<I", ">H", "<H"):
        mark, size = struct.pack(layout, EDGE), random.choice(SIZES)
        at = spoiled.find(mark)
        while at >= 0:
            if random.random() < 0.5:
                struct.pack_into(layout, spoiled, at, size & (2 ** (8 * len(mark)) - 1))
            at = spoiled.find(mark, at + 1)
    if spoiled.startswith(b"\x89PNG"):
        struct.pack_into(">I", spoiled, 29, zlib.crc32(spoiled[12:29]))
    return bytes(spoiled)


def _spliced(random: Random, content: bytes) -> bytes:
    other = random.choice(sorted(sound_pictures().values()))
    return content[: random.randrange(len(content))] + other[random.randrange(len(other)) :]


def _png_bomb(edge: int, bits: int, colours: int) -> bytes:
    """A PNG of zeros, 1,000 times smaller than its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    row = bytes(1 + (edge * bits * channels + 7) // 8)
    packer, rows = zlib.compressobj(9), min(edge, BOMB_EDGE)
    data = b"".join([packer.compress(row) for _ in range(rows)] + [packer.flush()])
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", edge, edge, bits, colours, 0, 0, 0))]
    chunks += [(b"PLTE", bytes(6))] if colours == 3 else []
    chunks += [(b"tRNS", b"\0")] if colours == 3 else []
    chunks += [(b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, body) for name, body in chunks)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@cache
def png_rgba_bomb(edge: int) -> bytes:
    return _png_bomb(edge, 8, 6)


@cache
def png_grey_16_bomb(edge: int) -> bytes:
    return _png_bomb(edge, 16, 0)


@cache
def png_palette_bomb(edge: int) -> bytes:
    return _png_bomb(edge, 1, 3)


@cache
def gif_bomb(edge: int) -> bytes:
    """One pixel of a screen of 9,400 times 9,400."""
    content = bytearray(sound_pictures()["gif"])
    struct.pack_into("<HH", content, 6, edge & 0xFFFF, edge & 0xFFFF)
    return bytes(content)


@cache
def tiff_bomb(edge: int) -> bytes:
    edge = min(edge, BOMB_EDGE)
    return _saved(Image.new("1", (edge, edge)), "TIFF", compression="group4")


@cache
def turned_bomb(edge: int) -> bytes:
    """A grey JPEG, to be turned by a quarter."""
    exif, edge = Image.Exif(), min(edge, BOMB_EDGE)
    exif[0x0112] = 6
    return _saved(Image.new("L", (edge, edge)), "JPEG", exif=exif, quality=1)


@cache
def turned_rgb_bomb(edge: int) -> bytes:
    """As large as it gets, to be turned by a quarter."""
    exif, edge = Image.Exif(), min(edge, BOMB_EDGE)
    exif[0x0112] = 6
    return _saved(Image.new("RGB", (edge, edge)), "JPEG", exif=exif, quality=1, progressive=True, subsampling=0)


@cache
def webp_bomb(edge: int) -> bytes:
    """A WebP, whose decoder holds a picture more than once."""
    edge = min(edge, WEBP_BOMB_EDGE)
    return _saved(Image.new("RGBA", (edge, edge)), "WEBP", lossless=True, quality=0, method=0)


BOMBS: tuple[Callable[[int], bytes], ...] = (
    *(png_rgba_bomb, png_grey_16_bomb, png_palette_bomb, gif_bomb, tiff_bomb, turned_bomb),
    *(turned_rgb_bomb, webp_bomb),
)
WAYS: tuple[Callable[[Random, bytes], bytes], ...] = (_cut, _flipped, _header, _sizes, _spliced, _flipped, _sizes)
