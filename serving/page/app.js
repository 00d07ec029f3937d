// The page adapts to what its server and the server's peers take: recordings, questions, texts.

import { services } from './api.js';
import { Ask } from './ask.js';
import { $, el, votes } from './dom.js';
import { Lecture } from './lecture.js';

function problem(sentence) {
  $('problem').textContent = sentence;
  $('problem').hidden = !sentence;
}

function takeRecordings(ears, lecture) {
  const { upload, duration } = ears.limits;
  $('take').hidden = false;
  const hours = duration < 3600 ? `${Math.round(duration / 60)} minutes` : `${+(duration / 3600).toFixed(1)} hours`;
  const size = upload < 1e9 ? `${Math.round(upload / 1e6)} MB` : `${+(upload / 1e9).toFixed(1)} GB`;
  $('limits').textContent = `audio or video, up to ${hours} and ${size}`;
  const open = (file) => {
    if (!file) return;
    if (file.size > upload) return problem(`${file.name} is larger than ${size}; cut it, or send its sound alone.`);
    lecture.open(file, { language: $('language').value.trim(), prompt: $('prompt').value.trim() });
  };
  $('file').addEventListener('change', (event) => { open(event.target.files[0]); event.target.value = ''; });
  $('upload').addEventListener('submit', (event) => event.preventDefault());
  for (const name of ['dragover', 'dragleave', 'drop']) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      $('drop').classList.toggle('over', name === 'dragover');
      if (name === 'drop') open(event.dataTransfer.files[0]);
    });
  }
}

function takeTexts(summary) {
  $('sum').hidden = false;
  $('sum-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    $('sum-status').textContent = 'Reading …';
    try {
      const result = await summary.predict({ text: $('text').value });
      $('sum-bullets').replaceChildren(...result.bullets.map((bullet) => el('li', {}, '•', el('span', {}, bullet.text))));
      $('sum-status').textContent = '';
      $('sum-vote').replaceChildren(votes('Are these the main points?', (vote, correction) => summary.vote({ request_id: result.request_id, vote, correction })));
    } catch (error) {
      $('sum-status').textContent = error.message;
    }
  });
}

async function start() {
  const all = await services();
  const [own] = all;
  $('name').textContent = own.name;
  $('revision').textContent = own.revision;
  document.title = `${own.name} · Sluice`;
  $('status').textContent = '';
  const ears = own.recordings ? own : null;
  const summary = all.find((service) => service.fields.segments);
  const retriever = all.find((service) => service.fields.question);
  let open = null;
  const ask = retriever && new Ask(retriever, () => open);
  if (ears) {
    const lecture = new Lecture(ears, summary, problem, (done) => { open = done; ask?.offer(); });
    takeRecordings(ears, lecture);
  } else if (own === summary) {
    takeTexts(summary);
  }
}

start().catch((error) => {
  $('status').textContent = '';
  problem(error.message);
  setTimeout(() => location.reload(), 5000);
});
