"""Transcripts as strangers' tools write them, and as ours does."""

import random
import re
import unicodedata
from typing import Any

import pytest

from components.recordings.cues import read_cues, read_transcript
from serving.contract.errors import SluiceError
from serving.core.scripts import width
from serving.transcription.formats import GUARD, write


def srt(*bodies: str, blank: str = "\n") -> str:
    """A numbered file of one cue a second."""
    return "".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{body}\n{blank}" for n, body in enumerate(bodies, 1))


def vtt(*bodies: str) -> str:
    return "WEBVTT\n\n" + "".join(
        f"00:0{n}.000 --> 00:0{n + 1}.000 align:start\n{body}\n\n" for n, body in enumerate(bodies)
    )


def said(text: str) -> list[str]:
    return [cue.text for cue in read_cues(text, "talk")]


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        (srt("Good morning.", "2 of us are here", "42", blank=""), ["Good morning.", "2 of us are here", "42"]),
        (srt("One half,\n\nthe other half.", "next"), ["One half, the other half.", "next"]),
        (srt("\nAfter a blank line", "1999", "end"), ["After a blank line", "1999", "end"]),
        (srt("{\\an8}Up {\\i1}there{\\i0}\\Nnow", "<i>low</i> and <B>loud</B>"), ["Up there now", "low and loud"]),
        (srt('<font color="#fff">pale</font>', "one<br/>two"), ["pale", "one two"]),
        (srt("if a < b and c > d, stop", "<v> in <html>"), ["if a < b and c > d, stop", "in <html>"]),
        (srt("salt &amp; water", "AT&T; R&D"), ["salt & water", "AT&T; R&D"]),
        (srt("first\r\nline", "second").replace("\n", "\r"), ["first line", "second"]),
        (srt("今天我们", "讲树\n和图"), ["今天我们", "讲树和图"]),
        ("00:01,0 --> 00:02,0\nno number\n1984\n\n00:03,0 --> 00:04,0\nend", ["no number 1984", "end"]),
        (srt("whole", "cut off") + "3\n", ["whole", "cut off"]),
        (vtt("a &lt; b &amp; c&nbsp;d &gt; e", "<c.red>tea</c> <lang en>cup</lang>"), ["a < b & c d > e", "tea cup"]),
        (vtt("said") + "NOTE\nnot\nthis\n\nSTYLE\n::cue {}\n\nREGION\nx\n\nname\n00:09-->00:10\ntoo", ["said", "too"]),
        (vtt("\nafter a blank line") + "NOTE x", ["after a blank line"]),
    ],
)  # fmt: skip
def test_bodies_are_read_as_tools_write_them(text: str, texts: list[str]) -> None:
    assert said(text) == texts


@pytest.mark.parametrize(
    ("line", "times"),
    [
        ("00:00:20 --> 00:00:24", (20, 24)), ("00:00:01.1234567 --> 00:00:02.0000000", (1.1234567, 2)),
        ("00:01.000-->00:02.000align:start", (1, 2)), ("00:01,5 --> 00:02.123456789 X1:40 Y1:20", (1.5, 2.123456789)),
        ("123:00:01,000 --> 123:00:02,250", (442801, 442802.25)), ("  0:01 --> 75:10.5  ", (1, 4510.5)),
        ("00:00:01, 500 -->00:00:02 ,750", (1.5, 2.75)),
    ],
)  # fmt: skip
def test_clocks_are_read_in_every_form_that_players_take(line: str, times: tuple[float, float]) -> None:
    (cue,) = read_cues(f"1\n{line}\nhello\n", "a.srt")
    assert (cue.start, cue.end) == pytest.approx(times)
    assert cue.text == "hello"


def test_cues_that_do_not_last_are_passed_over_and_counted() -> None:
    bad = "00:00:07,000 --> 00:00:07,000\nyou\n\n8\n00:00:09,0 --> 00:00:08,0\nback\n\n00:0x:01 --> 00:00:01\nodd\n\n"
    found = read_transcript(srt("good") + bad + "00:00:00,00 --> 00:00:00,00\n\n", "a.srt")
    assert ([cue.text for cue in found.cues], found.passed_over) == (["good"], 4)
    with pytest.raises(SluiceError, match="a.srt: none of its 4 cues lasts"):
        read_cues(bad + "00:00:00,00 --> 00:00:00,00\n\n", "a.srt")


def test_who_speaks_is_told_by_voice_spans() -> None:
    text = vtt("<v.loud Ada Byron>Look", "<v O&apos;Neill>Where?</v>", "nobody")
    assert [(cue.speaker, cue.text) for cue in read_cues(text, "a.vtt")] == [
        ("Ada Byron", "Look"), ("O'Neill", "Where?"), ("", "nobody"),
    ]  # fmt: skip


def test_captions_that_roll_give_each_word_once() -> None:
    automatic = vtt(
        " \nso today<00:00:00.400><c> we</c><00:00:00.700><c> look</c>", "so today we look\n ",
        "so today we look\nat<00:00:02.300><c> trees</c>", "at trees\n ", "at trees\nat<c> trees</c>",
    )  # fmt: skip
    assert said(automatic) == ["so today we look", "at trees", "at trees"]
    live = srt("ONE", "ONE\nTWO", "ONE\nTWO\nTHREE", "TWO\nTHREE\nFOUR", "THREE\nFOUR\nFIVE")
    assert said(live) == ["ONE", "TWO", "THREE", "FOUR", "FIVE"]
    flat = srt("HELLO AND", "HELLO AND WELCOME TO", "WELCOME TO THE SHOW", "THE SHOW OF SHOWS")
    assert said(flat) == ["HELLO AND WELCOME TO", "THE SHOW", "OF SHOWS"]
    growing = read_cues(srt("I", "I think", "I think so", "I think so\nyes"), "a.srt")
    assert [(cue.text, cue.end) for cue in growing] == [("I think so", 3.9), ("yes", 4.9)]


def test_what_people_say_twice_stays_twice() -> None:
    talk = ("Yes.", "Yes.", "No, no.", "No, no. Never.", "Come here", "and sit down", "now", "please", "Yes.")
    assert said(srt(*talk)) == list(talk)


NASTY = [
    *re.findall(
        r"\S+",
        r"""--> -- -> > < & &amp; &lt; &#60; &copy <i> </i> <v <c.x> <00:01.000> a<b b>c {\an8} {b} { }
        NOTE STYLE WEBVTT 1 42
        00:00:01,000 שלום مرحبا؟ 今天 。 「 」 ， ไม่ เป็น ไร 한국어 é word \N <br> &nbsp; no no yes""",
    ),
    *("00:00:01,000 --> 00:00:02,000", "<v Bob>", "<font color=red>", "e\u0301", "x" * 50, "今" * 30, GUARD, GUARD * 2),
    *(
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        " ",
        "\u00a0",
        "\u2028",
        "\u3000",
        "\x00",
        "\x07",
        "\x1c",
        "\ufeff",
        "\u200f",
        "\u202e",
        "\ud800",
    ),
]


def transcript(random: random.Random) -> list[str]:
    texts = ["".join(random.choice(NASTY) + random.choice(("", " ")) for _ in range(random.randrange(1, 14)))]
    for _ in range(random.randrange(8)):
        more = "".join(random.choice(NASTY) + random.choice(("", " ")) for _ in range(random.randrange(1, 9)))
        texts.append(random.choice((more, texts[-1], f"{texts[-1]} {more}", texts[-1][-20:] + more, "no", "no no")))
    return texts


def clean(text: str) -> str:
    kept = (c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    return " ".join("".join(kept).split())


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_our_reader_reads_what_our_writer_writes_for_every_text(kind: str) -> None:
    for seed in range(1500):
        texts = transcript(random.Random(seed))
        step = random.Random(seed).choice((0.0, 0.3, 1.0))
        segments: list[dict[str, Any]] = [
            {"start": at * step, "end": (at + random.Random(seed + at).choice((0, 1, 1))) * step, "text": text}
            for at, text in enumerate(texts)
        ]
        if not any(map(clean, texts)):
            continue
        written = write({"segments": segments}, kind)
        written.encode()
        found = read_transcript(written, f"talk.{kind}")
        assert [cue.text for cue in found.cues] == [text for text in map(clean, texts) if text], (seed, written)
        assert found.passed_over == 0
        assert all(cue.end > cue.start for cue in found.cues)


def test_lines_are_of_42_columns_in_scripts_without_blanks_too() -> None:
    for text in ("今天我们讲树，它们有根和叶，" * 8, "これは木です。" * 12, "ไม่เป็นไรครับ" * 10, "한국어 문장은 " * 9):
        lines = write({"segments": [{"start": 0, "end": 9, "text": text}]}, "srt").split("\n")[2:-2]
        assert len(lines) > 2 and max(map(width, lines)) <= 42 and max(map(len, lines)) <= 42
        assert not any(line[0] in "，。" or unicodedata.category(line[0]) == "Mn" for line in lines)


def test_a_plain_text_is_written_without_a_sign_more() -> None:
    text = "It costs < 5 & more at AT&T; {see} > 2 --"
    assert f"\n{text}\n" in write({"segments": [{"start": 0, "end": 9, "text": text}]}, "srt")
