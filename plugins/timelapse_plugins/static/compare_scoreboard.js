// The scoreboard: every run's scores at its round, and how they stand against those of one of them.

import { html } from '../report/dom.js';
import { DASH, count, epoch, label, number, percent, signed } from '../report/format.js';
import { Choice, Dot } from './shared_views.js';
import { Slices } from './compare_slices.js';
import { inWorkspace } from '../report/workspace.js';

export function Scoreboard({ data, state, update, prefix }) {
  const names = Object.keys(data.scoreboard);
  const losses = hasLoss(data);
  return html`<section class="panel" aria-labelledby="scoreboard">
    <header><h2 id="scoreboard">Scoreboard</h2>
      <small>${data.score ? `against ${data.runs[data.against].label}, paired by sample; 95 % interval by bootstrap, p by sign test`
        : 'the runs have no score in common: only texts are compared'}</small></header>
    <div class="scroll" role="region" aria-labelledby="scoreboard" tabindex="0"><table class="table scoreboard">
      <thead><tr>
        <th scope="col">Run</th><th scope="col">Round</th>
        ${names.map((name) => html`<th scope="col" class="number">${label(name)}</th>`)}
        ${losses && html`<th scope="col" class="number">Reference NLL</th>`}
        ${data.score && html`<${Heads} score=${data.score}/>`}
      </tr></thead>
      <tbody>${data.runs.map((run, at) => html`<${Line} key=${run.selector} ...${{ data, run, at, names, losses, state, update, prefix }} />`)}</tbody>
    </table></div>
    <${Slices} data=${data} update=${update}/>
  </section>`;
}

const Heads = ({ score }) => html`
  <th scope="col" class="number">Wins</th><th scope="col" class="number">Losses</th><th scope="col" class="number">Ties</th>
  <th scope="col" class="number" title=${`Mean paired difference of ${score}, with its 95 % interval`}>Δ ${label(score)}</th>
  <th scope="col" class="number" title="Chance of a split at least this uneven, if either were as likely to win">p</th>`;

const hasLoss = (data) => data.runs.some((run) => lossOf(run) !== null);
const lossOf = (run) => run.trends.reference_nll?.[run.steps.indexOf(run.step)] ?? null;

function Line({ data, run, at, names, losses, state, update, prefix }) {
  const isAgainst = at === data.against;
  const shown = new URLSearchParams({ set: data.set, step: run.step });
  const address = inWorkspace(`${prefix}/timelapse/runs/${encodeURIComponent(run.run.run_id)}#${shown}`);
  return html`<tr class=${isAgainst ? 'against' : ''}>
    <th scope="row"><${Dot} at=${at}/> <a href=${address}>${run.label}</a>
      ${isAgainst && html` <span class="badge info">compared against</span>`}
      ${run.run.state.kind === 'live' && html` <span class="badge state live info">live</span>`}
      ${run.failed > 0 && html` <span class="badge bad">${count(run.failed)} failed</span>`}
      ${run.skipped > 0 && html` <span class="badge">${count(run.skipped)} skipped</span>`}</th>
    <td><${RoundOf} run=${run} state=${state} update=${update}/></td>
    ${names.map((name) => html`<${Mean} cell=${data.scoreboard[name][at]} total=${run.answers}/>`)}
    ${losses && html`<td class="number">${number(lossOf(run))}</td>`}
    ${data.score && html`<${Result} paired=${data.scoreboard[data.score][at].paired} show=${(filter) => update({ filter: [filter], of: run.selector, page: '1' })}/>`}
  </tr>`;
}

function Mean({ cell, total }) {
  const hint = cell.unscored ? `${count(cell.scored)} of ${count(total)} answers have it` : `${count(cell.scored)} answers`;
  return html`<td class="number" title=${hint}>${number(cell.mean)}${cell.unscored > 0 && html`<sup><abbr title=${hint}>${cell.scored}/${total}</abbr></sup>`}</td>`;
}

function Result({ paired, show }) {
  if (!paired) return html`${[1, 2, 3, 4, 5].map(() => html`<td class="number muted">${DASH}</td>`)}`;
  const interval = paired.low === null ? '' : `[${signed(paired.low)}, ${signed(paired.high)}]`;
  const isClear = paired.low > 0 || paired.high < 0;
  return html`
    <td class="number">${tally(paired.wins, 'good', 'wins', () => show('improvements'))}</td>
    <td class="number">${tally(paired.losses, 'bad', 'losses', () => show('regressions'))}
      ${paired.failed > 0 && html`<small> ${count(paired.failed)} failed</small>`}</td>
    <td class="number">${count(paired.ties)}</td>
    <td class="number interval"><b class=${isClear ? (paired.difference > 0 ? 'good' : 'bad') : ''}>${signed(paired.difference)}</b> ${interval}</td>
    <td class="number">${chance(paired.p_value)}</td>`;
}

const tally = (value, kind, what, show) => (value
  ? html`<button type="button" class=${`link ${kind}`} title=${`Show the ${what}`} onClick=${show}>${count(value)}</button>`
  : '0');

const chance = (value) => (value < 0.001 ? '<0.001' : number(value, value < 0.01 ? 3 : 2));

/** The round of one run: as chosen for all, or one of its own. */
function RoundOf({ run, state, update }) {
  const [id, own = ''] = split(run.selector);
  const place = state.run.indexOf(run.selector);
  const choose = (round) => {
    const selector = round ? `${id}@${round}` : id;
    update({
      run: state.run.map((each, at) => (at === place ? selector : each)), page: '1',
      ...(state.against === run.selector && { against: selector }), ...(state.of === run.selector && { of: selector }),
    });
  };
  const steps = run.steps.map((step, at) => [String(step), `step ${count(step)}${epoch(run.epochs[at]) ? ` · epoch ${epoch(run.epochs[at])}` : ''}${step === run.best_step ? ' · best' : ''}`]);
  const shown = `step ${count(run.step)}${epoch(run.epoch) ? ` · epoch ${epoch(run.epoch)}` : ''}`;
  const choices = [['', own ? 'as for all runs' : shown], ['best', 'its best'], ['last', 'its last'], ['first', 'its first'], ...steps];
  return html`<${Choice} small hidden label=${`Round of ${run.label}`} value=${own} choices=${choices} choose=${choose}/>
    ${own && !/^\d+$/.test(own) ? html` <small>${shown}</small>` : null}`;
}

/** A selector's run and round: `fox@120` is ['fox', '120']. */
function split(selector) {
  const found = /^(.+)@(\d+|first|best|last)$/.exec(selector);
  return found ? [found[1], found[2]] : [selector];
}
