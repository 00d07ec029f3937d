"""What is read of Python and Markdown, however it is written."""

import sys
from pathlib import Path

import pytest
from test_ingest import MODULE, run, tree


def test_a_header_is_whole_however_it_is_laid_out_and_definitions_in_any_block_are_found(tmp_path: Path) -> None:
    odd = '''def wide(
    left: str = "#:",  # not this
    *rest: int,
) -> dict[str, int]: "Add up."


class Many(list,  # first
           dict): "Two bases."


@wrapped(a=1)
async def fetch(url: str, ünï="é") -> bytes:  # now
    # and then

    """Fetch it."""


class Open(Protocol):
    def close(self) -> None: ...  # to be written by others
    """Docs."""
'''
    heads = {
        "for": "for _ in a:",
        "orelse": "for _ in a:\n    pass\nelse:",
        "while": "while a:",
        "case": "match a:\n  case 1:",
        "star": "try:\n    pass\nexcept* E:",
        "handler": "try:\n    pass\nexcept E:",
        "finally": "try:\n    pass\nfinally:",
        "elif": "if a:\n    pass\nelif b:",
        "with": "with a:",
    }
    blocks = "".join(f'{head}\n    def in_{name}():\n        """Of a block."""\n' for name, head in heads.items())
    inner = "class Holder:\n    while True:\n        def held(self):\n            'Held.'\n        break\n"
    _, table = run(tree(tmp_path / "s", odd_py=odd, blocks_py=blocks + inner), undocumented_min_lines=3)
    signature = table.set_index("name").signature.to_dict()
    assert signature["wide"] == 'def wide( left: str = "#:", *rest: int, ) -> dict[str, int]'
    assert signature["Many"] == "class Many(list, dict)"
    assert signature["fetch"] == 'async def fetch(url: str, ünï="é") -> bytes'
    assert signature["Open"] == "class Open(Protocol)"
    assert {f"in_{name}" for name in heads} | {"Holder.held"} <= set(table["name"])


@pytest.mark.parametrize(
    ("line", "python"),
    [
        ('greet = f"{d["name"]}"', "3.12"),
        ("greet = f'{d['a']:>{w['b']}} {{'", "3.12"),
        ("greet = f\"{'\\n'.join(rows)}\"", "3.12"),
        ('greet = f"{\n    name  # theirs\n}"', "3.12"),
        ("greet = f'{size:{width:{more}}}'", "3.12"),
        ("class Box[T]: pass", "3.12"),
        ("class Box[T = int]: pass", "3.13"),
        ("def first[T: (int, str) = int](rows): pass", "3.13"),
        ("def first[T](rows=()): pass", "3.12"),
        ("async def first[T: int](rows): return rows[0]", "3.12"),
        ("type Pair[T] = tuple[T, T]", "3.12"),
        ('where = t"{name}"', "3.14"),
        ("try:\n    pass\nexcept ValueError, KeyError:\n    pass", "3.14"),
        ("try:\n    pass\nexcept socket.timeout, select.error:\n    pass", "3.14"),
        ("try:\n    pass\nexcept A, b, c:\n    pass", "3.14"),
        ("lazy import json", "3.15"),
        ("flat = [*row for row in rows]", "3.15"),
        ("try:\n    pass\nexcept ValueError, error:\n    pass", "2"),
        ('print "hello"', "2"),
        ('raise ValueError, "no"', "2"),
        ("mode = 0777", "2"),
        ("def first((a, b)): pass", "2"),
        ('greet = f"{d["', ""),
        ('greet = f"{name', ""),
        ('greet = "hello', ""),
        ("class Box(:", ""),
    ],
)
def test_syntax_of_a_newer_python_is_told_from_a_broken_file(line: str, python: str, tmp_path: Path) -> None:
    done, _ = run(tree(tmp_path / "s", good_py=MODULE, other_py=f"def f():\n    pass\n\n\n{line}\n"))
    if not done.skipped:  # this Python knows it
        assert tuple(map(int, python.split("."))) <= sys.version_info[:2]
        return
    ((path, reason),) = done.skipped
    assert path == "other.py"
    begins = {"": "not valid Python: ", "2": "not valid Python, but Python 2: "}
    assert reason.startswith(begins.get(python, f"newer than this Python {sys.version_info[0]}."))
    assert f"run under {python} or later" in reason or python in begins


def test_front_matter_comments_and_html_are_neither_headings_nor_words_of_a_section(tmp_path: Path) -> None:
    text = """---
title: Not text
# nor this
---
# Guide
Seen. <!-- hidden # here --> Still seen, and `<!-- shown -->` too.
<!--
# Hidden heading
```
-->
<pre>
# not a heading
kept as code
</pre>
<script>
# nor here
</script>

<div align="center">
# raw HTML
</div>

## Part
```html
<!-- a comment in code -->
```
<!-- never closed
"""
    _, table = run(
        tree(tmp_path / "s", guide_md=text, toml_md="+++\na = 1\n+++\nOnly text.\n", rule_md="Words.\n\n---\n\nMore.")
    )
    docs = table.set_index("name").doc
    assert set(docs.index) == {"Guide", "Guide > Part", "toml.md", "rule.md"}
    assert "Still seen, and `<!-- shown -->` too." in docs["Guide"] and "kept as code" in docs["Guide"]
    assert not any(word in docs["Guide"] for word in ("hidden", "Hidden", "nor this", "nor here", "<pre>"))
    assert "<!-- a comment in code -->" in docs["Guide > Part"] and "never closed" not in docs["Guide > Part"]
    assert docs["toml.md"] == "Only text." and "More." in docs["rule.md"]
    assert table.set_index("name").start_line["Guide > Part"] == 23


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("```inline``` code\n\n# Real\ntext\n", {"guide.md": "```inline``` code", "Real": "text"}),
        (
            "---\nSome words.\n\n# Part\nmore\n\n---\nlast\n",
            {"guide.md": "---\nSome words.", "Part": "more\n\n---\nlast"},
        ),
        ("---\ntags: [a,\n  b]\nlist:\n- c\nlong: >\n  words\n...\nSeen.", {"guide.md": "Seen."}),
        ("[//]: # (hidden)\n[comment]: <> (too)\n{/* and this */}\n<!DOCTYPE html>\nSeen.", {"guide.md": "Seen."}),
        ("<pre># code</pre>\n\n# Part\nmore", {"guide.md": "# code", "Part": "more"}),
        ("<!-->\n# Part\nmore", {"Part": "more"}),
    ],
)
def test_what_only_looks_like_a_fence_front_matter_or_a_heading_takes_no_text(
    text: str, sections: dict[str, str], tmp_path: Path
) -> None:
    _, table = run(tree(tmp_path / "s", guide_md=text, good_py=MODULE))
    assert table[table["kind"] == "section"].set_index("name").doc.to_dict() == sections


def test_a_form_feed_ends_no_line(tmp_path: Path) -> None:
    _, table = run(tree(tmp_path / "s", guide_md="One\x0ctwo\u2028three\r\n# Part\nmore\n"))
    assert table.set_index("name").start_line["Part"] == 2


def test_a_long_hostile_line_is_named_at_once(tmp_path: Path) -> None:
    lines = {"a": "except " + "a, " * 200_000, "b": "x = " + 'f"{' * 200_000, "c": "class A[" + "(" * 200_000}
    done, _ = run(tree(tmp_path / "s", good_py=MODULE, **{f"{n}_py": f"def f(): 1\n{v}\n" for n, v in lines.items()}))
    assert [path for path, _ in done.skipped] == ["a.py", "b.py", "c.py"]
