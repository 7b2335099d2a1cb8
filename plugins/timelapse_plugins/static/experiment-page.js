// The experiment page: its runs with predictions, how each went, and a sample that is pinned beside them.

import { CopyButton } from '../report/copy_button.js';
import { html, useEffect, useMemo } from '../report/dom.js';
import { plural } from '../report/format.js';
import { api, placeOf } from '../report/source_http.js';
import { useUrlState } from '../report/url_state.js';
import { firstPages, ordered, sampleOf } from './experiment_data.js';
import { RunsTable } from './experiment_table.js';
import { Failure, Loading, useLoaded } from './loading.js';
import { mount } from './mount.js';
import { SamplePicker } from './sample_picker.js';
import { Crumbs } from './shared_views.js';
import { inWorkspace } from '../report/workspace.js';

const DEFAULTS = { sort: '', search: '', pin: '', compare: [], pages: '1' };

const { prefix, id } = placeOf();
const { get } = api(prefix);

function Experiment() {
  const [state, update] = useUrlState(DEFAULTS);
  const pages = Math.max(1, Number.parseInt(state.pages, 10) || 1);
  const { data, error, isLoading, again } = useLoaded(() => firstPages(get, id, pages, state.pin), `${pages} ${state.pin}`, isLive);
  useEffect(() => {
    if (data) document.title = `${data.experiment} · runs with predictions · Timelapse`;
  }, [data]);
  return html`<main class="page stack" aria-busy=${String(isLoading)}>
    <${Header} ...${{ data, state, update }} />
    ${error && html`<${Failure} error=${error} again=${again}/>`}
    ${!data ? isLoading && html`<${Loading} what="the runs"/>` : !data.runs.length ? html`<${Empty}/>` : html`<${Runs} ...${{ data, state, update, pages }} />`}
  </main>`;
}

const isLive = (data) => data.runs.some(({ run }) => run.state.kind === 'live');

function Header({ data, state, update }) {
  const chosen = new URLSearchParams(state.compare.map((runId) => ['run', runId]));
  return html`<header class="row">
    <div>
      <${Crumbs} steps=${[[data?.experiment ?? 'Experiment', inWorkspace(`${prefix}/#/experiments/${encodeURIComponent(id)}/runs`)]]}/>
      <h1>Runs with predictions</h1>
    </div>
    <span class="spacer"></span>
    ${state.compare.length > 0 && html`<button type="button" class="button quiet" onClick=${() => update({ compare: [] })}>Choose none</button>`}
    <a class=${`button primary ${state.compare.length < 2 ? 'waiting' : ''}`} aria-disabled=${String(state.compare.length < 2)}
      href=${state.compare.length < 2 ? undefined : inWorkspace(`${prefix}/timelapse/compare?${chosen}`)}>${
      state.compare.length < 2 ? 'Choose runs to compare' : `Compare ${plural(state.compare.length, 'run')}`}</a>
    <${CopyButton}/>
  </header>`;
}

function Runs({ data, state, update, pages }) {
  const asked = state.search.trim().toLowerCase();
  const found = data.runs.filter(({ run }) => `${run.name} ${run.run_id} ${run.state.text} ${run.claimed_by ?? ''}`.toLowerCase().includes(asked));
  const rows = useMemo(() => ordered(found, state.sort), [data, asked, state.sort]);
  const ids = data.runs.map(({ run }) => run.run_id);
  const { data: sample } = useLoaded(() => sampleOf(get, ids, state.pin), state.pin || null);
  return html`<section class="panel" aria-label="Runs">
    <div class="row filters">
      <label class="search"><span class="sr-only">Search the runs</span>
        <input class="input" type="search" placeholder="Search runs…" value=${state.search} onInput=${(event) => update({ search: event.target.value })}/></label>
      <small role="status">${plural(rows.length, 'run')}${data.next_cursor ? ', the newest' : ''}</small>
      <span class="spacer"></span>
      <${SamplePicker} get=${get} runId=${data.runs[0].run.run_id} pin=${state.pin} choose=${(pin) => update({ pin })}/>
    </div>
    ${rows.length ? html`<${RunsTable} ...${{ rows, sample, state, update, prefix }} />`
      : html`<div class="empty"><h2>No run has this text</h2><p><button type="button" class="link" onClick=${() => update({ search: '' })}>Show all runs</button></p></div>`}
    ${data.next_cursor && html`<div class="pager"><button type="button" class="button small" onClick=${() => update({ pages: String(pages + 1) })}>Show older runs</button></div>`}
  </section>`;
}

function Empty() {
  return html`<section class="panel empty">
    <h2>No run of this experiment has predictions</h2>
    <p>Add <code>timelapse_training.PredictionsCallback</code> to a Trainer, or start <code>timelapse train config.yaml</code>:
      its runs appear here when their first round is stored.</p>
    <p>Write a configuration on the <a href=${inWorkspace(`${prefix}/timelapse/config`)}>config page</a>.</p>
  </section>`;
}

mount(Experiment);
