// Adds a run to the comparison: one of the experiment's, found by its name, or any other by its id.

import { html, menuEvents, useState } from '../report/dom.js';
import { experimentRuns } from './experiment_data.js';
import { useLoaded } from './loading.js';

const SHOWN = 30;

export function RunPicker({ data, get, chosen, add }) {
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState('');
  const experiment = data?.runs[data.against].run.experiment_id ?? null;
  const key = isOpen && experiment !== null ? `runs ${experiment}` : null;
  const { data: found, error, isLoading } = useLoaded(() => experimentRuns(get, experiment, {}), key);
  const asked = text.trim();
  const taken = new Set(chosen.map((each) => each.replace(/@(\d+|first|best|last)$/, '')));
  const runs = (found?.runs ?? []).filter(({ run }) => !taken.has(run.run_id)
    && `${run.name} ${run.run_id}`.toLowerCase().includes(asked.toLowerCase()));
  const isId = /^[0-9a-f]{32}(@(\d+|first|best|last))?$/.test(asked);
  return html`<details class="menu picker" ...${menuEvents} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary class="button small">Add a run</summary>
    <div>
      <label><span class="sr-only">Name or id of a run</span>
        <input class="input" type="search" placeholder="Name, or paste a run's id" value=${text} onInput=${(event) => setText(event.target.value)}/></label>
      ${isId && html`<button type="button" onClick=${() => add(asked)}>Add run ${asked.slice(0, 8)}…</button>`}
      ${runs.slice(0, SHOWN).map(({ run }) => html`<button type="button" key=${run.run_id} onClick=${() => add(run.run_id)}>
        ${run.name || run.run_id.slice(0, 8)} <small>${run.state.kind.replaceAll('_', ' ')}</small></button>`)}
      ${error && html`<p class="hint" role="alert">${error.message}</p>`}
      ${!isId && !runs.length && !error && html`<p class="hint">${isLoading ? 'Loading…' : experiment === null ? 'Paste the id of a run.' : 'No other run of this experiment fits.'}</p>`}
    </div>
  </details>`;
}
