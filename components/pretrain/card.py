"""The model card: what nano is for, what it was trained on, what it gets wrong, and how to make it again."""

from components.pretrain.measure import Errors
from components.pretrain.text import vocabulary
from components.pretrain.voices import HEARD, HELD_OUT

MEANINGS = {
    "heard": "new sentences of the grammar, voices of the training",
    "lectures-heard": "sentences of our lectures, voices of the training",
    "lectures-new": f"sentences of our lectures, {len(HELD_OUT)} espeak-ng variants never heard, any accent",
    "fsdd-heard": "FSDD digit strings (1-5 digits), four speakers of the training, recordings 0-4",
    "fsdd-theo": "FSDD digit strings (1-5 digits), speaker theo, never heard, recordings 0-4",
    "samples-clean": "our sample recordings, test split: four voices never heard, chosen because they are hard",
    "samples-noise": "one of the four voices, with noise 15 dB below the speech",
    "samples-video": "the hardest of the four voices, out of an mp4",
    "samples-known": "our sample recordings by voices of the training",
}
WITH_DIGITS = """One window in seven holds digits of the Free Spoken Digit Dataset (FSDD; Jackson, Souza, Flaks, Pan,
Nicolas and Thite 2018, https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0), joined into strings of
1 to 5 by one speaker: george, jackson, lucas and nicolas, recordings 5 and up. Speaker theo and recordings 0-4
(FSDD's own test split) were not used. These weights, having been trained on it, are given under CC BY-SA 4.0."""
WITHOUT_DIGITS = """The Free Spoken Digit Dataset was not given (`--digits DIR`), so digits were only ever read by
espeak-ng, and people's digits will be heard worse than the weights that come with the project hear them."""

TEMPLATE = """---
license: {license}
language: en
pipeline_tag: automatic-speech-recognition
---
# whisper-nano

A Whisper of 1.9M parameters (fp16, 3.8 MB) that knows {words} English words. It is there so that the
whole system runs offline, in minutes, on two cores: pipelines, gates, LoRA, ONNX, serving. **It is no speech recogniser
for your recordings**: every other word comes out as one that it knows. For those, name a real one, such as
`openai/whisper-small`.

Architecture: transformers' `WhisperForConditionalGeneration`; 6-second window (600 frames, 80 mels), d144, 4 encoder
and 2 decoder layers, 4 heads, one token a word, Whisper's special tokens under Whisper's names. Forced prefix:
`<|startoftranscript|><|en|><|transcribe|><|notimestamps|>`; silence gives `<|nospeech|>` in the place of `<|en|>`. It
writes no time tokens; word times come from the cross-attention heads {heads} ([layer, head]; attention lies on the
word in the row of the token before it). A prompt (`<|startofprev|>` and up to 13 words) was part of training, but do
not expect hints to help.

## Training
Sentences of a small grammar of our own, rows of random words, and strings of digits, read by espeak-ng in 8 accents and
{voices} variants at 130-190 words a minute; joined, stretched, coloured, muffled and hidden in noise;
SpecAugment. No training line is a sentence of the sample lectures or shares five words in a row with one. Shorter
runs, and all words, are shared: the vocabulary is theirs. {digits}

AdamW, four phases (lines of 1-2, 1-5, 1-14 and mostly 8-14 words, in windows of 2, 4, 6 and 6 seconds); the encoder
also learns to name the sounds (CTC over phones), with a head that is thrown away.

## Word error rate
Greedy, one sentence a window, lower-case words, over all words of a condition together (jiwer); espeak-ng's voices are
drawn with a fixed seed.

| condition | what | WER | utterances | words |
|---|---|---|---|---|
{rows}

Weak spots: words outside the vocabulary, people's voices beyond digits, overlapping speakers, music, any language
but English.

## Make it again
`sluice pretrain whisper-nano --digits DIR` (espeak-ng from your system's packages; FSDD's `recordings` folder, or
without it from espeak-ng alone); about an hour on one core. A stopped run goes on where it was.
"""


def card(errors: dict[str, Errors], with_digits: bool, heads: list[list[int]]) -> str:
    """README.md of the model directory. ``errors``: conditions as `MEANINGS` names them, WER 0-1 with counts."""
    rows = "\n".join(
        f"| {name} | {MEANINGS.get(name, '')} | {figure.wer:.1%} | {figure.utterances} | {figure.words} |"
        for name, figure in errors.items()
    )
    return TEMPLATE.format(
        license="cc-by-sa-4.0" if with_digits else "other",
        words=len(vocabulary()),
        voices=len(HEARD),
        digits=WITH_DIGITS if with_digits else WITHOUT_DIGITS,
        heads=heads,
        rows=rows,
    )
