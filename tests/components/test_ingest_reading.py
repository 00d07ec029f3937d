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
        ("class Box[T]: pass", "3.12"),
        ("async def first[T: int](rows): return rows[0]", "3.12"),
        ("type Pair[T] = tuple[T, T]", "3.12"),
        ('where = t"{name}"', "3.14"),
        ("try:\n    pass\nexcept ValueError, KeyError:\n    pass", "3.14"),
        ("try:\n    pass\nexcept ValueError, error:\n    pass", ""),
        ('print "hello"', ""),
        ('greet = f"{d["', ""),
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
    assert reason.startswith(f"newer than this Python {sys.version_info[0]}." if python else "not valid Python")
    assert f"run under {python} or later" in reason or not python


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
