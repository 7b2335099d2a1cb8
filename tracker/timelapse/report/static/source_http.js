// Where a page's data come from on a server: its API, asked with ETags, so that what has not changed costs nothing.

import { inWorkspace } from './workspace.js';

/** Why a request was refused: `message` for people, with `hint` (what to do) and `status` (0: no connection). */
export class SourceError extends Error {
  constructor(message, { status = 0, hint = null } = {}) {
    super(message);
    Object.assign(this, { name: 'SourceError', status, hint });
  }
}

/** Where a page lies: `{prefix, kind, id}` of `<prefix>/timelapse/<kind>/<id>`. */
export function placeOf(path = location.pathname) {
  const found = /^(.*)\/timelapse\/([^/]+)(?:\/([^/]+))?\/?$/.exec(path);
  if (!found) throw new SourceError(`This address is no page of Timelapse: ${path}`);
  return { prefix: found[1], kind: found[2], id: found[3] ? decodeURIComponent(found[3]) : null };
}

/** The API under a prefix: `get('runs/1/overview', {set: 'main'})`. The same answer is the same object. */
export function api(prefix) {
  const answers = new Map();
  const address = (path, query = {}) => {
    const parts = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      for (const each of [value].flat()) if (each != null && each !== '') parts.append(name, each);
    }
    const asked = parts.toString();
    return inWorkspace(`${prefix}/timelapse/api/v1/${path}${asked ? `?${asked}` : ''}`);
  };
  return {
    address,
    async get(path, query, { keep = true } = {}) {
      const url = address(path, query);
      const known = answers.get(url);
      const answer = await ask(url, known);
      if (answer.status === 304) return known.data;
      if (!answer.ok) throw await refusal(answer);
      const data = await answer.json();
      const etag = answer.headers.get('ETag');
      if (keep && etag) answers.set(url, { etag, data });
      return data;
    },
  };
}

async function ask(url, known) {
  const headers = { Accept: 'application/json', ...(known && { 'If-None-Match': known.etag }) };
  try {
    return await fetch(url, { headers, credentials: 'same-origin', cache: 'no-store' });
  } catch {
    throw new SourceError('The server does not answer.', { hint: 'Is it still running? The page tries again.' });
  }
}

async function refusal(answer) {
  const told = await answer.json().catch(() => ({}));
  const message = told.detail || told.title || `The server answered ${answer.status}.`;
  return new SourceError(message, { status: answer.status, hint: told.hint ?? null });
}

/** A run's data from the server; the methods are those of source_report.js, too. */
export function httpSource(prefix, runId) {
  const { get, address } = api(prefix);
  const run = `runs/${encodeURIComponent(runId)}`;
  return {
    overview: (chosen) => get(`${run}/overview`, chosen),
    matrix: (score, chosen) => get(`${run}/matrix`, { score, ...chosen }),
    texts: (lanes, chosen) => get(`${run}/texts`, { lane: lanes, ...chosen }, { keep: false }),
    search: (text, chosen) => get(`${run}/search`, { text, ...chosen }, { keep: false }),
    timeline: (sampleId, chosen) => get(`${run}/timeline`, { sample: sampleId, ...chosen }),
    exportUrl: (format) => (format === 'html' ? address(`${run}/report`) : address(`${run}/export`, { format })),
    links: {
      mlflow: (info) => inWorkspace(`${prefix}/#/experiments/${info.experiment_id}/runs/${info.run_id}`),
      experiment: (info) => inWorkspace(`${prefix}/#/experiments/${info.experiment_id}/runs`),
      runs: (info) => inWorkspace(`${prefix}/timelapse/experiments/${info.experiment_id}`),
      compare: (info) => inWorkspace(`${prefix}/timelapse/experiments/${info.experiment_id}?compare=${encodeURIComponent(info.run_id)}`),
    },
  };
}
