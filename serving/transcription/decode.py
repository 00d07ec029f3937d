"""Greedy decoding of a batch of windows with a cache; what fails is tried again at higher temperatures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from serving.contract.bundle import SpeechSpec
from serving.transcription.graphs import Graphs, Memory, select
from serving.transcription.mel import Floats
from serving.transcription.rules import Rules, compression, loop
from serving.transcription.vocabulary import Vocabulary


@dataclass(frozen=True)
class Settings:
    """Whisper's own limits; a text beyond them is decoded again at the next temperature.

    ``least`` > 0 forces that many tokens and ends there, which only measurements want.
    """

    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    compression: float = 2.4
    logprob: float = -1.0
    no_speech: float = 0.6
    least: int = 0


@dataclass(frozen=True)
class Task:
    """How to decode one window: its prompt (tokens before the prefix), prefix, hints, and whether to keep alignment."""

    prefix: list[int]
    prompt: list[int] = field(default_factory=list)
    hints: list[list[int]] = field(default_factory=list)
    align: bool = True


@dataclass
class Said:
    """What came out of one window: n tokens with their log-probabilities, and attention [heads, n + 1, positions].

    ``alignment`` has a row for each token as it was predicted, and one for the end; None where none was asked.
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    alignment: Floats | None = None
    no_speech: float = 0.0
    temperature: float = 0.0
    text: str = ""
    _rows: list[Floats] = field(default_factory=list)

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability of the tokens and the end."""
        return float(np.mean(self.logprobs)) if self.logprobs else 0.0


class Decoder:
    """Decodes windows; any thread may use it."""

    def __init__(self, graphs: Graphs, vocabulary: Vocabulary, settings: Settings | None = None) -> None:
        self._graphs, self._vocabulary, self._settings = graphs, vocabulary, settings or Settings()
        self._speech: SpeechSpec = vocabulary.speech
        self._rules = Rules(self._speech, vocabulary.special)

    def detect(self, cross: list[Any]) -> list[str]:
        """The likeliest language of each encoded window."""
        languages, rows = self._vocabulary.languages, cross[0].shape()[0]
        memory = self._graphs.start(cross, np.zeros(rows, np.int64))
        logits, _ = self._graphs.step(memory, np.full((rows, 1), self._speech.tokens.sot), [0])
        codes = list(languages)
        return [codes[at] for at in logits[:, 0, [languages[code] for code in codes]].argmax(axis=1)]

    def decode(self, cross: list[Any], tasks: Sequence[Task]) -> list[Said]:
        """One result for each encoded window.

        A text that runs in circles, or is unlikely, is decoded again at higher temperatures as in Radford et al.,
        section 4.5, unless nothing seems to be said; if none is better, the likeliest is kept and its circles are cut.
        """
        best: list[Said] = []
        rows = list(range(len(tasks)))
        for temperature in self._settings.temperatures:
            part = cross if len(rows) == len(tasks) else select(cross, rows)
            found = self._pass(part, [tasks[row] for row in rows], temperature)
            if not best:
                best = found
            for row, said in zip(rows, found, strict=True):
                if best[row] is not said and self._rank(said) > self._rank(best[row]):
                    best[row] = said
            rows = [row for row in rows if self._failed(best[row])]
            if not rows:
                break
        return [self._cut(said) for said in best]

    def silent(self, said: Said) -> bool:
        """Whether Whisper takes a window for one without speech."""
        return said.no_speech > self._settings.no_speech and said.mean_logprob < self._settings.logprob

    def _rank(self, said: Said) -> tuple[bool, float]:
        return (not self._circles(said), said.mean_logprob)

    def _circles(self, said: Said) -> bool:
        return bool(loop(said.tokens)) or compression(said.text) > self._settings.compression

    def _failed(self, said: Said) -> bool:
        if self._settings.least or self.silent(said):
            return False
        return self._circles(said) or said.mean_logprob < self._settings.logprob

    def _cut(self, said: Said) -> Said:
        extra = 0 if self._settings.least else loop(said.tokens)
        if not extra:
            return said
        kept = len(said.tokens) - extra
        rows = None if said.alignment is None else said.alignment[:, : kept + 1]
        tokens = said.tokens[:kept]
        return replace(said, tokens=tokens, logprobs=said.logprobs[:kept], alignment=rows, text=self._text(tokens))

    def _text(self, tokens: list[int]) -> str:
        return self._vocabulary.text(tokens).strip()

    def _pass(self, cross: list[Any], tasks: Sequence[Task], temperature: float) -> list[Said]:
        """Decode every window once, at one temperature."""
        run = _Run(self._graphs, self._speech, self._rules, tasks, temperature, self._settings.least)
        found = run.decode(cross)
        for said in found:
            said.text = self._text(said.tokens)
        return found


class _Run:
    """One pass over a batch: rows that have ended drop out of it."""

    def __init__(
        self, graphs: Graphs, speech: SpeechSpec, rules: Rules, tasks: Sequence[Task], temperature: float, least: int
    ) -> None:
        self._graphs, self._speech, self._rules = graphs, speech, rules
        self._tasks, self._temperature, self._least = tasks, temperature, least
        self._said = [Said(temperature=temperature) for _ in tasks]
        # A generator each: what a window samples does not depend on its neighbours in the batch.
        self._random = [np.random.default_rng(0) for _ in tasks] if temperature else []

    def decode(self, cross: list[Any]) -> list[Said]:
        live = list(range(len(self._tasks)))
        tokens, pads = self._prompts()
        memory = self._graphs.start(cross, pads)
        start = tokens.shape[1] - len(self._tasks[0].prefix)
        logits, attention = self._graphs.step(memory, tokens, [start, tokens.shape[1] - 1])
        self._note_silence(logits[:, 0])
        rows = list(range(len(live)))
        while True:
            chosen = self._choose(logits[:, -1][rows], [live[row] for row in rows], attention[:, rows, -1])
            going = [at for at, token in enumerate(chosen) if token != self._speech.tokens.eot]
            if not going:
                break
            memory, live, rows, fed = self._drop(memory, live, rows, going, chosen)
            logits, attention = self._graphs.step(memory, fed, [0])
        for said in self._said:
            if said._rows:
                said.alignment = np.stack(said._rows, axis=1)
                said._rows = []
        return self._said

    def _drop(
        self, memory: Memory, live: list[int], rows: list[int], going: list[int], chosen: list[int]
    ) -> tuple[Memory, list[int], list[int], Any]:
        """Keep the rows that go on. Those that ended are computed along until they are a quarter: copying costs too."""
        kept = [rows[at] for at in going]
        fed = np.full((len(live), 1), self._speech.tokens.eot)
        fed[kept, 0] = [chosen[at] for at in going]
        if 4 * (len(live) - len(kept)) < len(live):
            return memory, live, kept, fed
        return memory.keep(kept), [live[row] for row in kept], list(range(len(kept))), fed[kept]

    def _room(self, task: Task) -> int:
        room = self._speech.max_tokens - len(task.prompt) - len(task.prefix)
        return min(room, self._least or room)

    def _prompts(self) -> tuple[Any, Any]:
        lines = [[*task.prompt, *task.prefix] for task in self._tasks]
        longest = max(map(len, lines))
        pads = np.asarray([longest - len(line) for line in lines], np.int64)
        filled = [[self._speech.tokens.eot] * int(pad) + line for pad, line in zip(pads, lines, strict=True)]
        return np.asarray(filled, np.int64), pads

    def _note_silence(self, logits: Floats) -> None:
        token = self._speech.tokens.no_speech
        if token is not None:
            shares = logits[:, token] - _logsum(logits)
            for said, share in zip(self._said, np.exp(shares), strict=True):
                said.no_speech = float(share)

    def _choose(self, logits: Floats, live: list[int], attention: Floats) -> list[int]:
        """The next token of each row (logits [rows, vocab]), noted with its log-probability and its attention."""
        said = [self._said[at] for at in live]
        if self._least:
            logits[:, self._speech.tokens.eot] = -np.inf
        else:
            hints = [self._tasks[at].hints for at in live]
            self._rules.apply(logits, [one.tokens for one in said], hints)
        if self._temperature:
            # The largest of logits + Gumbel noise is a sample.
            noise = np.stack([self._random[at].gumbel(size=logits.shape[1]) for at in live])
            chosen = (logits / self._temperature + noise).argmax(axis=1)
        else:
            chosen = logits.argmax(axis=1)
        picked = logits[np.arange(len(chosen)), chosen] - _logsum(logits)
        for row, (one, token, logprob) in enumerate(zip(said, chosen.tolist(), picked.tolist(), strict=True)):
            one.logprobs.append(logprob)
            if self._tasks[live[row]].align:
                one._rows.append(attention[:, row].copy())
            if token != self._speech.tokens.eot:
                one.tokens.append(token)
                full = len(one.tokens) >= self._room(self._tasks[live[row]])
                if full or (not self._least and len(one.tokens) % 8 == 0 and loop(one.tokens)):
                    chosen[row] = self._speech.tokens.eot
        return [int(token) for token in chosen]


def _logsum(logits: Floats) -> Floats:
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
