// One recording: its player, its transcript as it comes, and what it says in short.

import { transcribe } from './api.js';
import { $, clock, el, stamp, timeButton, votes } from './dom.js';

const UNSURE = 0.5;

export class Lecture {
  /** `ears` and `summary` are services; `problem(sentence)` shows what went wrong; `ready(lecture)` tells the end. */
  constructor(ears, summary, problem, ready) {
    Object.assign(this, { ears, summary, problem, ready, segments: [], rows: [], current: -1 });
    $('segments').addEventListener('click', (event) => {
      const row = event.target.closest('li');
      if (event.target.closest('.mend')) this.mend(this.rows.indexOf(row));
    });
    $('segments').addEventListener('keydown', (event) => {
      const to = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
      const next = to && event.target.matches('.time') && event.target.closest('li')[to];
      if (next) { next.querySelector('.time').focus(); event.preventDefault(); }
    });
    $('cancel').addEventListener('click', () => this.stop?.());
    window.addEventListener('keydown', (event) => this.key(event));
  }

  open(file, fields) {
    this.stop?.();
    this.file = file;
    this.name = file.name.replace(/\.[^.]*$/, '');
    this.segments = [];
    this.rows = [];
    this.current = -1;
    this.answer = null;
    this.problem('');
    for (const id of ['segments', 'bullets', 'script-vote', 'short-vote', 'downloads', 'player']) $(id).replaceChildren();
    $('short').hidden = true;
    $('player-title').textContent = this.name;
    this.play(file);
    $('lecture').hidden = false;
    $('side').append($('ask'));
    document.body.classList.add('taken');
    this.progress('Sending', 0);
    const began = this.stop = transcribe(this.ears.name, file, fields, {
      sent: (share) => this.progress(share < 1 ? `Sending, ${Math.round(100 * share)} %` : 'Listening', share < 1 ? share : undefined),
      event: (data) => data.type === 'transcript.text.segment' && this.add(data),
      done: (data) => this.done(data),
      failed: (sentence) => this.stop === began && this.end(sentence),
    });
  }

  play(file) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    const video = file.type.startsWith('video/') || /\.(mp4|mkv|webm|mov)$/i.test(file.name);
    this.player = el(video ? 'video' : 'audio', { controls: true, preload: 'metadata', src: this.url, playsinline: video, 'aria-label': this.name });
    this.player.addEventListener('timeupdate', () => this.light(this.player.currentTime));
    this.player.addEventListener('error', () => {
      $('player').append(el('p', { class: 'quiet' }, 'This browser cannot play the file; the transcript comes all the same.'));
    });
    $('player').append(this.player);
  }

  progress(stage, share) {
    $('progress').hidden = false;
    $('stage').textContent = stage;
    if (share === undefined) $('bar').removeAttribute('value');
    else $('bar').value = share;
  }

  add(segment) {
    this.segments.push(segment);
    const unsure = segment.confidence !== undefined && segment.confidence < UNSURE;
    const row = el('li', {}, timeButton(segment.start, (at) => this.seek(at)),
      el('span', { class: unsure ? 'said unsure' : 'said', title: unsure ? 'not sure of this' : null }, segment.text),
      el('button', { type: 'button', class: 'mend', 'aria-label': `Correct the text at ${clock(segment.start)}`, title: 'Correct' }, '✎'));
    this.rows.push(row);
    $('segments').append(row);
    const total = Number.isFinite(this.player.duration) ? this.player.duration : 0;
    const of = total ? ` of ${clock(total)}` : '';
    this.progress(`Listening, ${clock(segment.heard)}${of}`, total ? Math.min(1, segment.heard / total) : undefined);
  }

  done(data) {
    this.answer = data;
    this.end('');
    $('status').textContent = this.segments.length ? `Transcribed ${clock(data.duration)} of sound.` : 'No speech was found in this recording.';
    if (!this.segments.length) return;
    $('script-vote').replaceChildren(votes('Is the transcript right?', (vote, correction) => this.ears.vote({ request_id: data.request_id, vote, correction })));
    this.downloads();
    if (this.summary) this.sum();
    this.ready(this);
  }

  end(sentence) {
    this.stop = null;
    $('progress').hidden = true;
    if (sentence) this.problem(sentence);
    if (sentence && !this.segments.length) $('lecture').hidden = true;
  }

  seek(seconds) {
    this.player.currentTime = seconds + 0.01;
    this.light(seconds + 0.01);
    this.player.play().catch(() => {});
  }

  /** Mark the segment that is being said: the last one that begins by `seconds`. */
  light(seconds) {
    let [low, high] = [0, this.segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.segments[middle].start <= seconds + 0.05) low = middle + 1;
      else high = middle;
    }
    if (low - 1 === this.current) return;
    this.rows[this.current]?.removeAttribute('aria-current');
    this.current = low - 1;
    const row = this.rows[this.current];
    row?.setAttribute('aria-current', 'true');
    if (row && $('follow').checked && !row.contains(document.activeElement)) row.scrollIntoView({ block: 'nearest' });
  }

  key(event) {
    if (!this.player || $('lecture').hidden || event.target.closest('input, textarea, select, button, audio, video, summary')) return;
    if (event.key === ' ') this.player.paused ? this.player.play() : this.player.pause();
    else if (event.key === 'ArrowLeft') this.player.currentTime -= 5;
    else if (event.key === 'ArrowRight') this.player.currentTime += 5;
    else return;
    event.preventDefault();
  }

  mend(at) {
    const [segment, row] = [this.segments[at], this.rows[at]];
    if (!this.answer) return this.problem('The transcript is not complete yet; correct it in a moment.');
    if (row.querySelector('form')) return row.querySelector('textarea').focus();
    const said = row.querySelector('.said');
    const field = el('textarea', { rows: 2, maxlength: 4000, 'aria-label': `What is said at ${clock(segment.start)}` });
    field.value = segment.text;
    const form = el('form', { onsubmit: (event) => { event.preventDefault(); save(); } }, field,
      el('button', {}, 'Save'), ' ', el('button', { type: 'button', onclick: () => form.remove() }, 'Leave it'));
    const save = async () => {
      const about = { request_id: this.answer.request_id, vote: 'down', start: segment.start, end: segment.end };
      try {
        await this.ears.vote({ ...about, correction: field.value.trim() });
      } catch (error) {
        return this.problem(error.message);
      }
      segment.text = said.textContent = field.value.trim();
      said.classList.remove('unsure');
      form.remove();
      row.querySelector('.mend').focus();
      $('status').textContent = 'Thank you: noted; once somebody has looked at it, the next training learns from it.';
    };
    row.append(form);
    field.focus();
  }

  async sum() {
    $('short').hidden = false;
    $('short-status').textContent = 'Putting it in short …';
    const segments = this.segments.map(({ start, end, text }) => ({ start, end, text }));
    const file = this.file;
    try {
      const result = await this.summary.predict({ segments, name: this.name });
      if (file !== this.file) return;
      $('bullets').replaceChildren(...result.bullets.map((bullet) => el('li', {},
        Number.isFinite(bullet.start) ? timeButton(bullet.start, (at) => this.seek(at)) : '•', el('span', {}, bullet.text))));
      $('short-status').textContent = result.bullets.length ? '' : 'Too little was said to put it in short.';
      $('short-vote').replaceChildren(votes('Are these the main points?', (vote, correction) => this.summary.vote({ request_id: result.request_id, vote, correction })));
    } catch (error) {
      $('short-status').textContent = error.message;
    }
  }

  downloads() {
    const cues = (comma) => this.segments.map((s, n) => `${n + 1}\n${stamp(s.start, comma)} --> ${stamp(s.end, comma)}\n${s.text}\n`).join('\n');
    const kinds = { txt: () => this.segments.map((s) => s.text).join('\n'), srt: () => cues(','), vtt: () => `WEBVTT\n\n${cues('.')}` };
    $('downloads').replaceChildren('Save as', ...Object.entries(kinds).map(([kind, write]) => el('button', { type: 'button', onclick: () => {
      const url = URL.createObjectURL(new Blob([write()], { type: 'text/plain' }));
      el('a', { href: url, download: `${this.name}.${kind}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    } }, kind)));
  }
}
