// The runs of an experiment as a table, with what is known of each so far.

import { html } from '../report/dom.js';
import { DiffView } from '../report/diff_view.js';
import { DASH, count, label, moment, number, signed } from '../report/format.js';
import { StateBadge } from '../report/state_badge.js';
import { digest } from './experiment_data.js';
import { NoText } from './shared_views.js';
import { Sparkline } from './sparkline.js';
import { inWorkspace } from '../report/workspace.js';

const LONGEST = 600;

export function RunsTable({ rows, sample, state, update, prefix }) {
  const sort = (name) => update({ sort: state.sort === `-${name}` ? name : state.sort === name ? '' : `-${name}` });
  const head = (name, text, kind = '') => html`<th scope="col" class=${kind} aria-sort=${order(state.sort, name)}>
    <button type="button" class="sort" onClick=${() => sort(name)}>${text}<span aria-hidden="true">${arrow(state.sort, name)}</span></button></th>`;
  return html`<div class="scroll" role="region" aria-label="Runs" tabindex="0"><table class="table runs-table">
    <thead><tr>
      <th scope="col"><span class="sr-only">Compare</span></th>
      ${head('name', 'Run')}${head('state', 'State')}${head('rounds', 'Rounds', 'number')}${head('score', 'Score', 'number')}
      <th scope="col">Over training</th>${head('learned', 'Learned / forgotten last', 'number')}
      ${state.pin && html`<th scope="col" class="pinned"><bdi class="one-line">${sample?.prompt ?? 'Pinned sample'}</bdi>
        ${sample?.reference && html`<small>reference: <bdi>${sample.reference}</bdi></small>`}</th>`}
    </tr></thead>
    <tbody>${rows.map((row) => html`<${Run} key=${row.run.run_id} row=${row} sample=${sample} isPinned=${Boolean(state.pin)}
      isChosen=${state.compare.includes(row.run.run_id)} choose=${toggle(state, update)} prefix=${prefix}/>`)}</tbody>
  </table></div>`;
}

const order = (sort, name) => (sort === name ? 'ascending' : sort === `-${name}` ? 'descending' : undefined);
const arrow = (sort, name) => ({ ascending: ' ↑', descending: ' ↓' }[order(sort, name)] ?? '');

const toggle = (state, update) => (runId) => update({
  compare: state.compare.includes(runId) ? state.compare.filter((each) => each !== runId) : [...state.compare, runId],
});

function Run({ row, sample, isPinned, isChosen, choose, prefix }) {
  const { run, rounds, learned, forgotten } = row;
  const name = run.name || run.run_id.slice(0, 8);
  return html`<tr aria-selected=${String(isChosen)}>
    <td><label class="check"><input type="checkbox" checked=${isChosen} onChange=${() => choose(run.run_id)}/><span class="sr-only">Compare ${name}</span></label></td>
    <th scope="row"><a href=${inWorkspace(`${prefix}/timelapse/runs/${encodeURIComponent(run.run_id)}`)}>${name}</a>
      <small class="block">${moment(run.start_time)}${run.claimed_by && html` · claimed by <bdi>${run.claimed_by}</bdi>`}</small></th>
    <td><${StateBadge} state=${run.state} short/></td>
    <td class="number">${rounds === null ? DASH : count(rounds)}</td>
    <${Score} row=${row}/>
    <td class="number">${learned === null ? DASH : html`<b class="good">${count(learned)}</b> / <b class="bad">${count(forgotten)}</b>`}</td>
    ${isPinned && html`<td class="pinned"><${Pinned} last=${row.last_text} reference=${sample?.reference}/></td>`}
  </tr>`;
}

function Score({ row }) {
  const { main_score: score, series } = row;
  const { last, change, best } = digest(row);
  const kind = change > 0 ? 'good' : change < 0 ? 'bad' : '';
  const told = `${label(score ?? 'score')} from ${number(series[0]?.value)} to ${number(last)}; best at step ${count(best)}`;
  return html`
    <td class="number"><span class="block">${number(last)}${change !== null && html` <b class=${kind}>${signed(change)}</b>`}</span><small>${score ? label(score) : 'no score'}</small></td>
    <td class="curve"><${Sparkline} values=${series.map((point) => point.value)} steps=${series.map((point) => point.step)} best=${best} label=${told}/></td>`;
}

/** A run's last text for the pinned sample, against the reference. */
function Pinned({ last, reference }) {
  if (!last) return html`<span class="skeleton line-3" role="img" aria-label="Loading"></span>`;
  if (last.step === null) return html`<span class="muted text">${last.problem}</span>`;
  const answer = { status: last.problem ? 'error' : 'ok', text: last.prediction, error: last.problem };
  const right = reference != null && last.prediction === reference;
  return html`<div class="clamp">${last.prediction ? html`<${DiffView} before=${reference} after=${last.prediction} limit=${LONGEST}/>` : html`<${NoText} answer=${answer}/>`}
    ${right && html` <span class="badge good">as the reference</span>`} <small>step ${count(last.step)}</small></div>`;
}
