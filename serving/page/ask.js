// Questions, and answers that say where they stand: a place in the code, or a time in a lecture.

import { $, clock, el, timeButton, votes } from './dom.js';

const AT_ONCE = 64;

export class Ask {
  /** `retriever` is a service; `lecture()` is the open one with its transcript, or null. */
  constructor(retriever, lecture) {
    Object.assign(this, { retriever, lecture, vectors: new WeakMap() });
    $('ask').hidden = false;
    $('question-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.put($('question').value.trim());
    });
  }

  /** Offer to ask about the open lecture alone. */
  offer() {
    $('scope').hidden = false;
  }

  async put(question) {
    if (!question) return;
    const lecture = this.lecture();
    const here = lecture && !$('scope').hidden && $('where').value === 'this';
    $('ask-status').textContent = 'Looking …';
    try {
      const answer = here ? await this.within(question, lecture) : await this.retriever.predict({ question });
      $('ask-status').textContent = '';
      $('answers').prepend(this.show(question, answer));
    } catch (error) {
      $('ask-status').textContent = error.message;
    }
  }

  /** Ask about one lecture: in the index if it is there, else in the transcript itself. */
  async within(question, lecture) {
    if (this.retriever.fields.path) {
      try {
        return await this.retriever.predict({ question, path: lecture.name });
      } catch (error) {
        if (error.status !== 400) throw error; // 400: no such lecture in the index
      }
    }
    const vectors = await this.vectorsOf(lecture);
    const [query] = await this.retriever.embed([question]);
    const near = vectors.map((vector, at) => [vector.reduce((sum, x, i) => sum + x * query[i], 0), at]);
    const best = near.sort((a, b) => b[0] - a[0]).slice(0, 3);
    const sources = best.map(([score, at]) => ({ ...lecture.segments[at], path: lecture.name, name: lecture.name, score }));
    return { answer: 'The places in the transcript that come closest:', sources };
  }

  async vectorsOf(lecture) {
    const key = lecture.segments;
    if (!this.vectors.has(key)) {
      const all = [];
      for (let at = 0; at < key.length; at += AT_ONCE) all.push(...await this.retriever.embed(key.slice(at, at + AT_ONCE).map((s) => s.text)));
      this.vectors.set(key, all);
    }
    return this.vectors.get(key);
  }

  show(question, answer) {
    const said = answer.abstained || !answer.answer ? 'I am not sure enough to answer; this comes closest.' : answer.answer;
    const box = el('article', { class: 'answer' }, el('h3', {}, question), el('p', { class: answer.abstained ? 'quiet' : 'said' }, said),
      el('ol', { 'aria-label': 'Sources' }, ...answer.sources.map((source) => this.source(source))));
    if (answer.request_id) {
      box.append(votes('Did this help?', (vote, correction) => this.retriever.vote({ request_id: answer.request_id, vote, correction })));
    }
    return box;
  }

  source(source) {
    if (Number.isFinite(source.start)) return this.moment(source);
    const [from, to] = source.lines ?? [0, 0];
    const place = from ? `${source.path}:${from}${to > from ? `-${to}` : ''}` : source.path;
    const code = el('code', {}, place);
    const linked = /^https?:/.test(source.url) ? el('a', { href: source.url, rel: 'noreferrer' }, code) : code;
    return el('li', {}, linked, ` ${source.name} `, el('details', {}, el('summary', {}, 'Show'), el('pre', { tabindex: 0 }, source.text)));
  }

  moment(source) {
    const lecture = this.lecture();
    const open = lecture && lecture.name === source.path;
    const when = open ? timeButton(source.start, (at) => lecture.seek(at)) : el('span', {}, `${source.name}, ${clock(source.start)}: `);
    return el('li', {}, when, source.text);
  }
}
