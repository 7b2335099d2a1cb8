// Chooses the sample whose last text stands beside every run.

import { html, menuEvents, useState } from '../report/dom.js';
import { samplesOf } from './experiment_data.js';
import { useLoaded } from './loading.js';

const SHOWN = 40;

export function SamplePicker({ get, runId, pin, choose }) {
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState('');
  const { data, error, isLoading } = useLoaded(() => samplesOf(get, runId), isOpen && runId ? runId : null);
  const asked = text.trim().toLowerCase();
  const found = (data ?? []).filter((each) => `${each.prompt} ${each.reference ?? ''}`.toLowerCase().includes(asked));
  return html`<details class="menu picker" ...${menuEvents} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary class="button">${pin ? 'Another sample' : 'Pin a sample'}</summary>
    <div>
      <label><span class="sr-only">Search the samples</span>
        <input class="input" type="search" placeholder="Prompt or reference…" value=${text} onInput=${(event) => setText(event.target.value)}/></label>
      ${pin && html`<button type="button" onClick=${() => choose('')}>No sample</button>`}
      ${found.slice(0, SHOWN).map((each) => html`<button type="button" key=${each.sample_id} aria-pressed=${String(each.sample_id === pin)}
        onClick=${() => choose(each.sample_id)}><span class="muted number">${each.index}</span> <bdi class="one-line">${each.prompt ?? each.sample_id}</bdi></button>`)}
      ${error && html`<p class="hint" role="alert">${error.message}</p>`}
      ${!error && !found.length && html`<p class="hint">${isLoading ? 'Loading…' : 'No sample has this text.'}</p>`}
    </div>
  </details>`;
}
