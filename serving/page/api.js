// Requests to this server, and to its peers under the same origin.

export class Problem extends Error {}

async function answerOf(response) {
  const text = await response.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* said below */ }
  if (!response.ok || body === null) {
    const error = Object.assign(new Problem(sentence(body, response.status)), { status: response.status });
    throw error;
  }
  return body;
}

function sentence(body, status) {
  const said = body && (body.error?.message ?? body.error);
  return said || (status ? `The server answered with status ${status}.` : 'The server does not answer.');
}

/** The key that this tab was given, as a header; the tab forgets it when it is closed. */
function credentials() {
  const key = sessionStorage.getItem('sluice-key');
  return key ? { authorization: `Bearer ${key}` } : {};
}

function askedForKey() {
  const key = window.prompt('This service wants an API key:')?.trim();
  if (key) sessionStorage.setItem('sluice-key', key);
  return Boolean(key);
}

async function request(path, body) {
  const options = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
  const kind = body === undefined ? {} : { 'content-type': 'application/json' };
  let response;
  do {
    try {
      response = await fetch(path, { ...options, headers: { ...kind, ...credentials() } });
    } catch {
      throw new Problem('The server does not answer. Is it still running?');
    }
  } while (response.status === 401 && askedForKey());
  return answerOf(response);
}

/** A service with what it offers; `at(route)` is where its route is reached from here. */
function service(about, peer) {
  const own = { predict: `/v1/models/${about.name}:predict`, embeddings: '/openai/v1/embeddings', feedback: '/feedback' };
  const at = (route) => (peer ? `/peers/${about.name}/${route}` : own[route]);
  const fields = about.inputs.properties ?? {};
  return {
    ...about, fields,
    predict: async (instance) => (await request(at('predict'), { instances: [instance] })).predictions[0],
    embed: async (texts) => (await request(at('embeddings'), { input: texts, model: about.name })).data.map((d) => d.embedding),
    vote: (vote) => request(at('feedback'), vote),
  };
}

/** This server and those of its peers that answer, each as a `service`. */
export async function services() {
  const own = service(await request('/capabilities'), false);
  const found = await Promise.allSettled(own.peers.map(async (name) => service(await request(`/peers/${name}/capabilities`), true)));
  return [own, ...found.filter((one) => one.status === 'fulfilled').map((one) => one.value)];
}

/** Upload a file and hear of it as it is understood. `tell` has sent(share), event(data), done(data), failed(sentence). */
export function transcribe(model, file, fields, tell) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ model, ...fields, stream: 'true', response_format: 'verbose_json' })) {
    if (value) form.append(name, value);
  }
  form.append('file', file, file.name);
  const line = new XMLHttpRequest(); // fetch does not tell how much of a body is sent
  let read = 0;
  let ended = false;
  const end = (how, what) => { if (!ended) { ended = true; how(what); } };
  const listen = () => {
    if (line.status !== 200) return;
    for (let stop; (stop = line.responseText.indexOf('\n\n', read)) >= 0; read = stop + 2) {
      const row = line.responseText.slice(read, stop);
      if (!row.startsWith('data: ')) continue;
      const data = JSON.parse(row.slice(6));
      if (data.error) end(tell.failed, data.error.message);
      else if (data.type === 'transcript.text.done') end(tell.done, data);
      else tell.event(data);
    }
  };
  line.upload.onprogress = (step) => tell.sent(step.lengthComputable ? step.loaded / step.total : 0);
  line.onprogress = listen;
  line.onload = () => {
    listen();
    let body = null;
    try { body = JSON.parse(line.responseText); } catch { /* a stream */ }
    end(tell.failed, line.status === 200 ? 'The answer broke off.' : sentence(body, line.status));
  };
  line.onerror = () => end(tell.failed, 'The connection broke. A recording that is too large ends like this, too.');
  line.onabort = () => end(tell.failed, 'Stopped.');
  line.open('POST', '/openai/v1/audio/transcriptions');
  for (const [name, value] of Object.entries(credentials())) line.setRequestHeader(name, value);
  line.send(form);
  return () => line.abort();
}
