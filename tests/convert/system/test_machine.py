"""Processors that compute alike have one name here, and those that do not have two."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert.system.machine import has_int8_dot_product, processor, versions

X86 = "processor\t: 0\nmodel name\t: A\ncpu MHz\t: {}\nflags\t: sse {}\n\nprocessor\t: 1\nmodel name\t: B\n"


def named(folder: Path, text: str) -> str:
    cpuinfo = folder / "cpuinfo"
    cpuinfo.write_text(text)
    return processor(cpuinfo)


def test_instructions_count_and_clocks_do_not(tmp_path: Path) -> None:
    plain = named(tmp_path, X86.format(2000, "avx2"))
    assert named(tmp_path, X86.format(3100, "avx2")) == plain
    assert named(tmp_path, X86.format(2000, "avx2 nopl")) == plain, "no arithmetic"
    assert named(tmp_path, X86.format(2000, "avx512f")) != plain


def test_the_first_processor_gives_the_name(tmp_path: Path) -> None:
    assert " A, features " in named(tmp_path, X86.format(2000, "avx2"))
    assert " 0xd0c, features " in named(tmp_path, "Features\t: asimd\nCPU part\t: 0xd0c\n")


def test_a_system_without_such_a_file(tmp_path: Path) -> None:
    assert processor(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (X86.format(2000, "avx2"), False),
        (X86.format(2000, "avx512f avx512_vnni"), True),
        (X86.format(2000, "avx_vnni"), True),
        ("Features\t: asimd asimddp\nCPU part\t: 0xd0c\n", True),
        ("Features\t: asimd\nCPU part\t: 0xd03\n", False),
        ("", None),
    ],
)
def test_int8_dot_products_are_told_by_their_names_in_cpuinfo(text: str, has: bool | None, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert has_int8_dot_product(tmp_path / "cpuinfo") is has
    assert has_int8_dot_product(tmp_path / "none") is None


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert versions(["pytest", "no-such-package"]) == {"pytest": pytest.__version__, "no-such-package": None}
