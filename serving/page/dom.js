// Small helpers over the DOM. Text from recordings and models only ever becomes text nodes.

export const $ = (id) => document.getElementById(id);

/** An element: `el('button', { class: 'time', onclick }, 'text', child)`. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** Seconds as people read them: 0:07, 12:30, 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const rest = `${hours ? two(Math.floor(whole / 60) % 60) : Math.floor(whole / 60)}:${two(whole % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

/** Seconds as SRT and VTT write them: 00:00:07,250. */
export function stamp(seconds, comma = ',') {
  const ms = Math.round(seconds * 1000);
  const two = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(ms / 3600000), Math.floor(ms / 60000) % 60, Math.floor(ms / 1000) % 60];
  return `${two(h)}:${two(m)}:${two(s)}${comma}${String(ms % 1000).padStart(3, '0')}`;
}

export function timeButton(seconds, seek) {
  return el('button', { type: 'button', class: 'time', 'aria-label': `Play from ${clock(seconds)}`, onclick: () => seek(seconds) }, clock(seconds));
}

function thumb(vote) {
  const draw = (tag, attributes) => {
    const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const svg = draw('svg', { viewBox: '0 0 24 24', width: 22, height: 22, 'aria-hidden': 'true', class: `thumb ${vote}` });
  svg.append(draw('path', { d: 'M2 10h4v11H2zM8 10l4-8c2 0 3 1.700 2.600 3.500L14 9h6c1.100 0 1.900 1 1.600 2.100l-2.200 8.400c-.2.900-1 1.500-1.900 1.500H8z' }));
  return svg;
}

/** Thumbs for one answer, and on a thumb down a field for what would have been right. */
export function votes(question, send) {
  const status = el('span', { class: 'quiet', role: 'status' });
  const box = el('div', { class: 'vote', role: 'group', 'aria-label': question }, el('span', {}, question));
  const buttons = ['up', 'down'].map((vote) => el('button', {
    type: 'button', 'aria-pressed': 'false', 'data-vote': vote, 'aria-label': vote === 'up' ? 'Yes' : 'No', onclick: () => cast(vote),
  }, thumb(vote)));
  const field = el('textarea', { rows: 2, maxlength: 4000, 'aria-label': 'What would be right?', placeholder: 'What would be right?' });
  const form = el('form', { hidden: true, onsubmit: (event) => { event.preventDefault(); cast('down', field.value.trim()); } },
    field, el('button', {}, 'Send'));
  async function cast(vote, correction) {
    try {
      await send(vote, correction);
    } catch (error) {
      status.textContent = error.message;
      return;
    }
    for (const button of buttons) button.setAttribute('aria-pressed', String(button.dataset.vote === vote));
    form.hidden = vote === 'up' || Boolean(correction);
    status.textContent = correction ? 'Thank you: noted for the next training.' : 'Thank you.';
    if (!form.hidden) field.focus();
  }
  box.append(...buttons, status, form);
  return box;
}
