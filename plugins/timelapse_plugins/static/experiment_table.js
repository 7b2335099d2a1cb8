// The runs of an experiment as a table, with what is known of each so far.

import { html } from '../report/dom.js';
import { DiffView } from '../report/diff_view.js';
import { DASH, count, label, moment, number, signed } from '../report/format.js';
import { StateBadge } from '../report/state_badge.js';
import { NoText } from './shared_views.js';
import { Sparkline } from './sparkline.js';

const LONGEST = 600;

export function RunsTable({ rows, told, keyOf, pinned, state, update, prefix }) {
  const sort = (name) => update({ sort: state.sort === `-${name}` ? name : state.sort === name ? '' : `-${name}` });
  const head = (name, text, kind = '') => html`<th scope="col" class=${kind} aria-sort=${order(state.sort, name)}>
    <button type="button" class="sort" onClick=${() => sort(name)}>${text}<span aria-hidden="true">${arrow(state.sort, name)}</span></button></th>`;
  const first = pinned?.first;
  return html`<div class="scroll" role="region" aria-label="Runs" tabindex="0"><table class="table runs-table">
    <thead><tr>
      <th scope="col"><span class="sr-only">Compare</span></th>
      ${head('name', 'Run')}${head('state', 'State')}${head('rounds', 'Rounds', 'number')}${head('score', 'Score', 'number')}
      <th scope="col">Over training</th>${head('learned', 'Learned / forgotten', 'number')}
      ${pinned && html`<th scope="col" class="pinned"><bdi class="one-line">${first?.prompt ?? 'Pinned sample'}</bdi>
        ${first?.reference && html`<small>reference: <bdi>${first.reference}</bdi></small>`}</th>`}
    </tr></thead>
    <tbody>${rows.map((row) => html`<${Run} key=${row.run.run_id} row=${row} told=${told.get(keyOf(row))} pinned=${pinned} answer=${pinned?.of(row)}
      isChosen=${state.compare.includes(row.run.run_id)} choose=${toggle(state, update)} prefix=${prefix}/>`)}</tbody>
  </table></div>`;
}

const order = (sort, name) => (sort === name ? 'ascending' : sort === `-${name}` ? 'descending' : undefined);
const arrow = (sort, name) => ({ ascending: ' ↑', descending: ' ↓' }[order(sort, name)] ?? '');

const toggle = (state, update) => (runId) => update({
  compare: state.compare.includes(runId) ? state.compare.filter((each) => each !== runId) : [...state.compare, runId],
});

function Run({ row: { run, rounds }, told, pinned, answer, isChosen, choose, prefix }) {
  const name = run.name || run.run_id.slice(0, 8);
  return html`<tr aria-selected=${String(isChosen)}>
    <td><label class="check"><input type="checkbox" checked=${isChosen} onChange=${() => choose(run.run_id)}/><span class="sr-only">Compare ${name}</span></label></td>
    <th scope="row"><a href=${`${prefix}/timelapse/runs/${encodeURIComponent(run.run_id)}`}>${name}</a>
      <small class="block">${moment(run.start_time)}${run.claimed_by && html` · claimed by <bdi>${run.claimed_by}</bdi>`}</small></th>
    <td><${StateBadge} state=${run.state} short/></td>
    <td class="number">${rounds === null ? DASH : count(rounds)}</td>
    <${Numbers} told=${told}/>
    ${pinned && html`<td class="pinned"><${Pinned} found=${answer}/></td>`}
  </tr>`;
}

function Numbers({ told }) {
  if (told?.error) return html`<td colspan="3"><span class="badge warn" title=${told.error.hint ?? ''}>not read</span> <small>${told.error.message}</small></td>`;
  if (!told) return html`<td colspan="3"><span class="skeleton line-3" role="img" aria-label="Loading"></span></td>`;
  const { score, last, change, values, steps, best, learned, forgotten } = told.data;
  const kind = change > 0 ? 'good' : change < 0 ? 'bad' : '';
  return html`
    <td class="number"><span class="block">${number(last)}${change !== null && html` <b class=${kind}>${signed(change)}</b>`}</span><small>${score ? label(score) : 'no score'}</small></td>
    <td><${Sparkline} values=${values} steps=${steps} best=${best} label=${`${label(score ?? 'score')} from ${number(values[0])} to ${number(last)}; best at step ${count(best)}`}/></td>
    <td class="number">${learned === null ? DASH : html`<b class="good">${count(learned)}</b> / <b class="bad">${count(forgotten)}</b>`}</td>`;
}

function Pinned({ found }) {
  if (!found) return html`<span class="skeleton line-3" role="img" aria-label="Loading"></span>`;
  if (found.error) return html`<span class="muted">not in this run</span>`;
  const { answer, reference, step } = found.data;
  return html`<div class="clamp">${answer?.status === 'ok' && answer.text ? html`<${DiffView} before=${reference} after=${answer.text} limit=${LONGEST}/>` : html`<${NoText} answer=${answer}/>`}
    ${answer && html` <span class=${`badge number ${answer.score === 1 ? 'good' : ''}`}>${number(answer.score)}</span>`} <small>step ${count(step)}</small></div>`;
}
