"""Every file of examples/ runs, tiny, prints its table and draws its picture; the pages show no picture but such."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DOCS = ROOT / "docs"
PNG = b"\x89PNG\r\n\x1a\n"
LONGEST = 125  # lines that an example has at most
LARGEST = 100 * 1024  # bytes of a picture

TINY = {
    "alignment": "--words 7 --longest 5 --width 8 --batch 3 --steps 2",
    "long_inputs": "--letters 5 --longest 3 --parameters 3000 --batch 3 --steps 2",
    "long_range": "--letters 5 --length 3 --parameters 3000 --batch 3 --steps 2",
}
# The first column of each table, and how many columns it has.
TABLES = {
    "alignment": (["recurrent, Bahdanau", "Transformer", "Transformer"], 7),
    "long_inputs": (["1", "2", "3", "4", "5", "6"], 3),
    "long_range": (["0", "2", "4"], 4),
}


def read_table(text: str) -> tuple[list[str], list[list[str]]]:
    """Head and body of the one Markdown table that is printed."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    head, rule, *body = rows
    assert set("".join(rule)) == {"-"}
    assert {len(row) for row in rows} == {len(head)}, text
    return head, body


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(TINY)


@pytest.mark.parametrize("name", TINY)
def test_an_example_prints_its_table_and_draws_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    picture = tmp_path / "picture.png"
    main([*TINY[name].split(), "--picture", str(picture)])
    head, body = read_table(capsys.readouterr().out)
    first, columns = TABLES[name]
    assert len(head) == columns
    assert [row[0] for row in body] == first
    shares = [cell for row in body for cell in row[1:] if cell.endswith("%")]
    assert len(shares) >= 2 * len(body)
    assert all(0.0 <= float(share.rstrip("%")) <= 100.0 for share in shares)
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize("name", TINY)
def test_an_example_gives_the_same_twice(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    tables = []
    for _ in range(2):
        main(TINY[name].split())
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]


def test_examples_are_short() -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")}
    assert {name: n for name, n in lines.items() if n > LONGEST} == {}


def test_every_picture_is_shown_small_and_drawn_by_code() -> None:
    """A block of the page that shows it writes a file of that name, or the page gives an example's command for it."""
    shown = set()
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+\.png)\)", text):
            picture = (page.parent / link).resolve()
            shown.add(picture)
            assert picture.read_bytes().startswith(PNG), link
            assert picture.stat().st_size < LARGEST, link
            assert f'"{picture.name}"' in text or f"--picture docs/images/{picture.name}" in text, link
    assert shown == {path.resolve() for path in (DOCS / "images").glob("*")}
