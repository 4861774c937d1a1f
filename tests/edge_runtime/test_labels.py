"""Label files in every form that people have, and what each says of the order of the classes."""

from __future__ import annotations

import codecs
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import ArtifactError
from edge_runtime._label_languages import LabelError
from edge_runtime.labels import MAX_BYTES, count_advice, parse_labels, parse_lines, read_labels, told_apart

NAMES = ("tench", "T-shirt/top", "manteau d'été", "猫")
WORDNET = ("n01440764", "n01443537", "n01484850", "n01491361")
ESCAPED = tuple(name.replace("'", r"\'") for name in NAMES)
BACKWARDS = tuple(range(3, -1, -1))


def lines(*each: str) -> str:
    return "\n".join(each)


def numbered(form: str, first: int = 0, order: tuple[int, ...] = (0, 1, 2, 3)) -> str:
    """Return the names as lines of a form, numbered from `first`, in another order of lines."""
    return lines(*(form.format(i + first, NAMES[i]) for i in order))


FORMS = {
    "lines": ("labels.txt", lines(*NAMES), "one a line"),
    "blank lines and spaces": ("labels.txt", "\n tench\r\nT-shirt/top \r\n\r\nmanteau d'été\r\n猫\r\n", "one a line"),
    "macOS accents": ("labels.txt", unicodedata.normalize("NFD", lines(*NAMES)), "one a line"),
    "number space": ("labels.txt", numbered("{} {}"), "one a line with numbers in front"),
    "number colon": ("labels.txt", numbered("{}: {}"), "one a line with numbers in front"),
    "number comma": ("labels.txt", numbered("{},{}"), "one a line with numbers in front"),
    "number dot": ("labels.txt", numbered("{}. {}"), "one a line with numbers in front"),
    "number tab": ("labels.txt", numbered("{}\t{}"), "one a line with numbers in front"),
    "numbers from 1": ("labels.txt", numbered("{}: {}", 1), "one a line with numbers in front"),
    "numbers out of order": ("labels.txt", numbered("{} {}", 0, (2, 0, 3, 1)), "one a line with numbers in front"),
    "number dash": ("labels.txt", numbered("{} - {}"), "one a line with numbers in front"),
    "number arrow": ("labels.txt", numbered("{} => {}"), "one a line with numbers in front"),
    "number in brackets": ("labels.txt", numbered("[{}] {}"), "one a line with numbers in front"),
    "hash and number": ("labels.txt", numbered("#{} {}"), "one a line with numbers in front"),
    "quotes": ("labels.txt", ",\n".join(f'"{n}"' for n in NAMES), "one a line in quotes"),
    "invisible spaces": ("labels.txt", lines(*(f"{n}\u200b" for n in NAMES)), "one a line"),
    "number behind": (
        "labels.txt",
        lines(*(f"{n}: {i}" for i, n in enumerate(NAMES))),
        "one a line with numbers behind",
    ),
    "CSV": ("labels.csv", numbered("{},{}"), "CSV"),
    "CSV with a header": ("labels.csv", "index,name\n" + numbered("{},{}", 0, BACKWARDS), "CSV with a header"),
    "CSV with other columns": (
        "labels.csv",
        lines("wnid;label;id", *(f"{WORDNET[i]};{NAMES[i]};{i}" for i in BACKWARDS)),
        "CSV with a header",
    ),
    "CSV of Excel": ("labels.csv", "sep=;\nindex;name\n" + numbered("{};{}"), "CSV with a header"),
    "CSV of one column": ("labels.csv", lines("label", *NAMES), "CSV with a header"),
    "CSV of one row": ("labels.csv", ",".join(NAMES), "CSV of one row"),
    "label map": (
        "label_map.pbtxt",
        lines("# of TensorFlow", *(f"item {{\n  id: {i + 1}\n  name: '{n}'\n}}" for i, n in enumerate(ESCAPED))),
        "label map",
    ),
    "label map of display names": (
        "labels.txt",
        " ".join(f'item: {{ name: "/m/{i}", id: {i} display_name: "{NAMES[i]}" }}' for i in BACKWARDS),
        "label map",
    ),
    "YAML list": ("labels.yaml", lines("path: x", "names:", *(f'  - "{n}"' for n in NAMES), "nc: 4"), "YAML"),
    "YAML index": ("l.txt", lines("names:", *(f"  {i}: {NAMES[i]}  # one" for i in BACKWARDS)), "YAML"),
    "YAML in brackets": ("l.yml", f'train: images\nnames: [{", ".join(NAMES[:2])},\n  "{NAMES[2]}", 猫]', "YAML"),
    "YAML list alone": ("l.yml", lines("---", *(f"- {n}" for n in NAMES)), "YAML"),
    "TSV": ("labels.tsv", numbered("{}\t{}", 1, BACKWARDS), "CSV"),
    "JSON list": ("labels.json", json.dumps(NAMES), "JSON list"),
    "JSON list under a text's name": ("labels.txt", json.dumps(NAMES), "JSON list"),
    "Python list": ("class_names.txt", repr(list(NAMES)), "Python list"),
    "NumPy's list": ("names.txt", "[" + " ".join(f'"{n}"' for n in NAMES) + "]\n", "Python list"),
    "class_to_idx": (
        "torch.json",
        json.dumps({"class_to_idx": {n: i for i, n in enumerate(NAMES)}}),
        "class_indices dictionary",
    ),
    "assigned Python list": ("names.txt", f"class_names = {list(NAMES)!r}\n", "Python list"),
    "index": ("labels.json", json.dumps({str(i): NAMES[i] for i in BACKWARDS}), "index"),
    "index from 1": ("labels.json", json.dumps({str(i + 1): NAMES[i] for i in BACKWARDS}), "index"),
    "index of pairs": ("i.json", json.dumps({str(i): [WORDNET[i], NAMES[i]] for i in BACKWARDS}), "index"),
    "Python index": ("labels.txt", repr({i: NAMES[i] for i in BACKWARDS}), "index"),
    "class_indices": ("c.json", json.dumps({NAMES[i]: i for i in BACKWARDS}), "class_indices dictionary"),
    "Python class_indices": ("c.txt", repr({NAMES[i]: i for i in BACKWARDS}), "class_indices dictionary"),
    "id2label": ("config.json", json.dumps({"id2label": {str(i): NAMES[i] for i in BACKWARDS}}), "index"),
    "WordNet": ("w.txt", lines(*map(" ".join, zip(WORDNET, NAMES, strict=True))), "one a line with WordNet numbers"),
    "number and WordNet": (
        "w.txt",
        lines(*(f"{i} {WORDNET[i]} {NAMES[i]}" for i in BACKWARDS)),
        "one a line with numbers in front with WordNet numbers",
    ),
}
"""Name -> the file's name, its text, and what is recognised; all stand for `NAMES` in this order."""


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str, tmp_path: Path) -> None:
    name, text, recognised = FORMS[form]
    path = tmp_path / name
    path.write_bytes(text.encode())
    labels = read_labels(path)
    assert (labels.names, labels.form) == (NAMES, recognised)
    assert labels.wordnet == (WORDNET if "n01440764" in text else ())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_every_form_has_every_encoding_that_is_marked(form: str, mark: bytes, encoding: str, tmp_path: Path) -> None:
    name, text, _ = FORMS[form]
    (tmp_path / name).write_bytes(mark + text.replace("\n", "\r\n").encode(encoding))
    assert read_labels(tmp_path / name).names == NAMES


@pytest.mark.parametrize(
    "names",
    [
        tuple("0123456789"),
        ("1 euro", "2 euro"),
        ("20 euros", "50 euros", "a note"),
        ("5 of hearts", "3 of clubs"),
        ("Boeing 737", "Boeing 747"),
        ("tench, Tinca tinca", "goldfish, Carassius auratus"),
        ("[unk]", "[sep]"),
        ("n0144", "n0145"),
    ],
)
def test_what_belongs_to_names_stays(names: tuple[str, ...]) -> None:
    assert parse_labels(lines(*names)).names == names


def test_keras_own_words_for_imagenet_keep_their_commas() -> None:
    labels = parse_labels("n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n")
    assert labels.names == ("tench, Tinca tinca", "goldfish, Carassius auratus")
    assert labels.by_wordnet == dict(zip(WORDNET, labels.names, strict=False))


def test_labels_that_are_wordnet_numbers_name_themselves() -> None:
    assert parse_labels(lines(*WORDNET)).by_wordnet == {number: number for number in WORDNET}
    assert parse_labels(json.dumps({number: i for i, number in enumerate(WORDNET)})).names == WORDNET


@pytest.mark.parametrize(
    ("text", "suffix", "names", "twice"),
    [
        ("crane\na\ncrane\n", ".txt", ("crane", "a", "crane (2)"), "crane"),
        ("a\na (2)\na\n", ".txt", ("a", "a (2)", "a (3)"), "a"),
        (
            '{"0": ["n02012849", "crane"], "1": ["n03126707", "crane"]}',
            ".json",
            ("crane (n02012849)", "crane (n03126707)"),
            "crane",
        ),
    ],
)
def test_names_that_occur_twice_are_told_apart_and_said(
    text: str, suffix: str, names: tuple[str, ...], twice: str
) -> None:
    labels = parse_labels(text, suffix)
    assert (labels.names, labels.twice) == (names, (twice,))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty: write one label a line"),
        ("a.txt", b" \n\n", "is empty"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
        ("a.xlsx", b"PK\3\4\x14\0\6\0", "is no text: save it as CSV or as text in UTF-8"),
        ("a.txt", "cat\ndog\n".encode("utf-16-le"), "is no text"),
        ("a.txt", b"caf\xe9", "cannot be read as UTF-8 text"),
        ("a.json", b'[{"id": 1}, {"id": 2}]', "is neither a list of names"),
        ("a.txt", b"0: a\n1: b\n3: c", "has numbers 0 to 3, and 3 labels: number the classes from 0 to 2, each once"),
        ("a.txt", b"0: a\n1: b\n1: c", "has number 1 twice, and 3 labels"),
        ("a.txt", b"x" * 5000, "has a line of 5,000 characters"),
        ("a.json", b'{"cat": 0, "dog": 2}', "has numbers 0 to 2, and 2 labels"),
        ("a.json", b'{"0": "cat", "2": "dog"}', "has numbers 0 to 2, and 2 labels"),
        ("a.json", b'{"cat": 0, "cat": 1}', "has the key 'cat' twice"),
        ("a.json", b'{"cat": "small"}', "is neither a list of names"),
        ("a.json", b"[]", "is neither a list of names"),
        ("a.json", b"[1, 2]", "is neither a list of names"),
        ("a.json", b'["cat", " "]', "has no name for class 1"),
        ("a.json", b'["cat"', "is not JSON"),
        ("a.json", b'["cat" "dog", ]]', "is not JSON"),
        ("a.json", b"[" * 100_000 + b"]", "is not JSON"),
        ("a.pbtxt", b"item { id: 1 name: 'a' } item { id: 3 name: 'b' }", "has numbers 1 to 3, and 2 labels"),
        ("a.pbtxt", b"item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "two items of the same id"),
        ("a.pbtxt", b"item { id: 1 } item { id: 2 name: 'b' }", "lacks its id or its name: give each both"),
        ("a.pbtxt", b"item { id: 1 name: 'a' parts { id: 2 } }", "more than items of id and name (at 'item')"),
        ("a.yaml", b"labels:\n  cat: {id: 0}\n", "is YAML in which no list of names was found: write them one a line"),
        ("a.yaml", b"names: *others\n", "is YAML in which no list of names was found"),
        ("a.yaml", b"names:\n  0: a\n  0: b\n", "is YAML with the same number twice"),
        ("a.csv", b"a,b,c\n1,2\n", "has a row of 2 columns after one of 3"),
        ("a.csv", b"cat,black\ndog,brown\n", "has 2 columns: call the one with the names 'name'"),
        ("a.csv", b"index,name\n0,cat\n5,dog\n", "has numbers 0 to 5"),
    ],
)
def test_files_that_cannot_serve_are_refused_in_one_line(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"--labels {path} ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_in_place_of_labels_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "birds.keras"
    path.write_bytes(b"PK\3\4\0\0" + bytes(MAX_BYTES))
    with pytest.raises(ArtifactError, match=r"--labels .*birds\.keras is no text: pass a file of labels"):
        read_labels(path)
    path.write_bytes(b"cat\n" * MAX_BYTES)
    with pytest.raises(ArtifactError, match=r"has more than 8,388,608 bytes: pass a file"):
        read_labels(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"--labels .*nowhere\.txt cannot be read: No such .*; pass a file"):
        read_labels(tmp_path / "nowhere.txt")
    (tmp_path / "labels.txt").touch()
    with pytest.raises(ArtifactError, match=r"label\.txt cannot be read: .* \(did you mean .*/labels\.txt\?\); pass"):
        read_labels(tmp_path / "label.txt")


def test_a_name_in_two_lines_is_one() -> None:
    """An artifact's labels are lines."""
    assert parse_labels('["a\\nb", "c"]', ".json").names == ("a b", "c")


def test_a_count_advice_says_what_it_is_a_sign_of() -> None:
    assert "'background' at the top" in count_advice(1000, 1001)
    assert "take out" in count_advice(11, 10)
    assert count_advice(3, 10) == "pass one for each class"


@given(st.lists(st.text(alphabet="ab ()23", min_size=1).filter(str.strip), min_size=1, max_size=12))
def test_names_told_apart_all_differ(names: list[str]) -> None:
    apart = told_apart(names)
    assert len(set(apart)) == len(names)
    assert all(new == old for new, old in zip(apart, names, strict=True) if names.count(old) == 1)


@given(st.text(max_size=200), st.sampled_from([".txt", ".csv", ".json", ".pbtxt", ".yaml"]))
def test_any_text_is_read_or_refused(text: str, suffix: str) -> None:
    for parse in (lambda: parse_labels(text, suffix), lambda: parse_lines(text)):
        try:
            labels = parse()
        except LabelError:
            continue
        assert len(set(labels.names)) == len(labels.names)
        assert all(len(name.splitlines()) == 1 and name for name in labels.names)
