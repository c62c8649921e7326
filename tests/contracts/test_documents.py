"""Every ```python block of the README and of docs/ runs: in order, one namespace a page, an empty folder."""

import re
from pathlib import Path

import pytest

import regard

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)


def read_blocks(page: Path) -> list[tuple[int, str, str]]:
    """Line of the first statement, info string and code of every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        indent = match["indent"]
        code = "".join(line.removeprefix(indent) for line in match["code"].splitlines(keepends=True))
        blocks.append((text.count("\n", 0, match.start("code")) + 1, match["info"].strip(), code))
    return blocks


def python_blocks(page: Path) -> list[tuple[int, str]]:
    return [(line, code) for line, info, code in read_blocks(page) if info == "python"]


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists() and python_blocks(page)], ids=page_name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code in python_blocks(page):
        # Padded, so that a traceback names the page's own line.
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def test_blocks_were_found() -> None:
    counts = {page_name(page): len(python_blocks(page)) for page in PAGES}
    assert counts["README.md"] > 0
    for concept in ("score", "normalise", "mask", "weigh", "observe"):
        assert counts[f"docs/concepts/{concept}.md"] > 0


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_no_python_block_escapes(page: Path) -> None:
    """Only ```python exactly is run, so nothing that looks like it may be written otherwise."""
    infos = [(line, info) for line, info, _ in read_blocks(page)]
    assert [(line, info) for line, info in infos if re.match(r"\W*py", info, re.IGNORECASE) and info != "python"] == []
    # A fence that the pattern missed (unclosed, or of tildes) would hide its code.
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE)) == 2 * len(infos)


def test_every_public_name_has_its_place_in_the_reference() -> None:
    reference = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    documented = set(re.findall(r"^::: regard\.(\w+)$|^`(\w+)` is another name", reference, re.MULTILINE))
    names = {name for pair in documented for name in pair}
    assert {name for name in regard.__all__ if not name.startswith("__")} - names == set()


def test_blocks_are_read_with_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```python\na = 1\n```\n\n- item\n\n  ```python\n  b = 2\n  ```\n\n```console\nmake\n```\n"
    )
    assert python_blocks(page) == [(4, "a = 1\n"), (10, "b = 2\n")]
    assert [info for _, info, _ in read_blocks(page)] == ["python", "python", "console"]
