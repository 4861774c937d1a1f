"""Results by class as the page tells them."""

from __future__ import annotations

import numpy as np

from convert.reporting import html as page
from tests.convert.comparisons import comparison, report
from tests.convert.reporting.pages import Parsed, words


def test_classes_come_with_the_largest_loss_first() -> None:
    """Ant loses one of three, dog gains one of one, bee loses one and gains one; by hand."""
    compared = comparison([0, 0, 1, 2, 2, 3], [0, 1, 1, 3, 2, 2], [0, 0, 1, 3, 0, 1])
    text = words(report(compared), compared)
    groups = "1 with fewer right answers, 1 with more right answers, 1 with other answers, as many right."
    assert f"3 classes: {groups}" in text
    assert "Fewer right answers 1 class Class Images Right float → int8 ant 3 2 → 1 right → bee" in text
    assert "More right answers 1 class Class Images Right float → int8 dog 1 0 → 1 cat → right" in text
    assert "Other answers, as many right 1 class Class Images Right float → int8 bee 2 1 → 1 dog → cat" in text


def test_without_labels_classes_come_with_most_changes_first() -> None:
    compared = comparison([0, 0, 1, 2, 2, 3], [0, 1, 1, 3, 3, 3])
    text = words(report(compared), compared)
    assert "4 classes: 2 with other answers, 2 without a change. Grouped by the class that float predicts." in text
    assert "float → int8 cat 2 2 2 × → dog ant 2 1 → bee No change 2 classes" in text


def test_of_a_thousand_classes_those_that_changed_are_shown_and_the_rest_is_folded() -> None:
    """One image each: 20 lose their answer, 2 get the right one, 978 keep theirs."""
    labels = [f"class {i:03}" for i in range(1000)]
    truth = np.arange(1000)
    before, after = truth.copy(), truth.copy()
    after[:20] += 1
    before[20:22] = 0
    compared = comparison(before.tolist(), after.tolist(), truth.tolist(), labels=labels)
    html = page.render(report(compared), compared, thumbnails=False)
    text = " ".join(Parsed(html).text.split())
    assert "1,000 classes: 20 with fewer right answers, 2 with more right answers, 978 without a change." in text
    assert "class 000 1 1 → 0 right → class 001" in text
    assert "class 020 1 0 → 1 class 000 → right" in text
    assert [text.count(folded) for folded in ("8 more classes", "978 classes")] == [1, 1]
    assert "class 999 right" in text, "every class is there"
    assert len(html) < 500_000, "and the page stays small"


def test_an_answer_that_changed_often_is_counted_once() -> None:
    """Of one class 20 images, of which 12 go to one other class, and 4 to four more."""
    after = [1] * 12 + [2, 3, 4, 5] + [0] * 4
    compared = comparison([0] * 20, after, [0] * 20, labels=[f"label {i}" for i in range(6)])
    text = words(report(compared), compared)
    assert "label 0 20 100.0% 20.0% -16 12 × right → label 1 right → label 2 right → label 3 and 2 more" in text
