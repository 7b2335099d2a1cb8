// The head of the compare page: which runs, at which round, and what to take away.

import { CopyButton } from '../report/copy_button.js';
import { html } from '../report/dom.js';
import { count, epoch, label, plural } from '../report/format.js';
import { Verdict } from './compare_likeness.js';
import { RunPicker } from './run_picker.js';
import { Choice, Crumbs, Dot, Menu } from './shared_views.js';
import { inWorkspace } from '../report/workspace.js';

export function Header(page) {
  const { state, data, prefix } = page;
  const shown = data ? `${compared(data.runs)}, ${plural(data.shared, 'shared sample')}` : 'Compare predictions';
  return html`<header class="stack head">
    <div class="row top">
      <div>
        <${Crumbs} steps=${crumbs(data, prefix)}/>
        <div class="row"><h1>${shown}</h1>${data && html`<${Verdict} data=${data}/>`}</div>
      </div>
      <span class="spacer"></span>
      <div class="row" role="toolbar" aria-label="What is compared">
        <${RoundChoice} ...${page} />
        ${data && html`<${Choices} ...${page} /><${Export} ...${page} />`}
        <${CopyButton}/>
      </div>
    </div>
    <${Runs} state=${state} ...${page} />
  </header>`;
}

/** `3 runs`; rounds of one run are no runs. */
function compared(runs) {
  const isOne = runs.length > 1 && runs.every((each) => each.run.run_id === runs[0].run.run_id);
  return isOne ? `${plural(runs.length, 'round')} of ${runs[0].run.name}` : plural(runs.length, 'run');
}

function crumbs(data, prefix) {
  if (!data) return [['MLflow', inWorkspace(`${prefix}/#/`)]];
  const { experiment, experiment_id: id } = data.runs[data.against].run;
  const runs = inWorkspace(`${prefix}/timelapse/experiments/${id}`);
  return [[experiment, inWorkspace(`${prefix}/#/experiments/${id}/runs`)], ['Runs with predictions', runs]];
}

/** Best, last, first, or a step that all runs have; nothing where each run names a round of its own. */
function RoundChoice({ state, update, data }) {
  if (data && state.run.length && state.run.every((selector) => selector.includes('@'))) return null;
  const steps = data ? data.runs[0].steps.filter((step) => data.runs.every((each) => each.steps.includes(step))) : [];
  const epochs = new Map(data?.runs[0].steps.map((step, at) => [step, epoch(data.runs[0].epochs[at])]));
  const named = [['best', 'best of each run'], ['last', 'last of each run'], ['first', 'first of each run']];
  const other = [...named.map(([name]) => name), ...steps.map(String)].includes(state.round) ? [] : [[state.round, `step ${state.round}`]];
  const choices = [...named, ...other, ...steps.map((step) => [String(step), `step ${count(step)}${epochs.get(step) ? ` · epoch ${epochs.get(step)}` : ''}`])];
  return html`<${Choice} label="Round" value=${state.round} choices=${choices} choose=${(round) => update({ round, page: '1' })}/>`;
}

function Choices({ update, data }) {
  const scores = data.scores.map((each) => [each.name, label(each.name)]);
  return html`
    ${scores.length > 1 && html`<${Choice} label="Score" value=${data.score} choices=${scores} choose=${(score) => update({ score, page: '1' })}/>`}
    ${data.sets.length > 1 && html`<${Choice} label="Samples" value=${data.set} choices=${data.sets.map((name) => [name, name])}
      choose=${(set) => update({ set, page: '1', open: '' })}/>`}`;
}

function Export({ query, address }) {
  const link = (format) => address('compare/export', { ...query, format });
  return html`<${Menu} title="Export">
    <a href=${link('csv')} download="comparison.csv">CSV, one line an answer</a>
    <a href=${link('json')} download="comparison.json">JSON, everything</a>
  <//>`;
}

/** The runs that are compared: which is the one compared against, and a way to take one out or add another. */
function Runs({ state, update, data, ...page }) {
  const byName = new Map(data?.runs.map((each, at) => [each.selector, { ...each, at }]));
  const isAgainst = (selector, at) => (data ? byName.get(selector)?.at === data.against : at === 0);
  const without = (selector) => update({
    run: state.run.filter((each) => each !== selector), against: state.against === selector ? '' : state.against, of: '', sort: '', page: '1',
  });
  return html`<div class="row runs" role="group" aria-label="Runs compared">
    ${state.run.map((selector, at) => html`<span class=${`run-chip ${isAgainst(selector, at) ? 'against' : ''}`} key=${selector}>
      <${Dot} at=${byName.get(selector)?.at ?? at}/>
      <span class="name">${byName.get(selector)?.label ?? selector}</span>
      ${isAgainst(selector, at) ? html`<small>compared against</small>`
        : html`<button type="button" class="link" onClick=${() => update({ against: selector, page: '1' })}>compare against</button>`}
      <button type="button" class="remove" aria-label=${`Take ${byName.get(selector)?.label ?? selector} out`} onClick=${() => without(selector)}>×</button>
    </span>`)}
    <${RunPicker} ...${page} data=${data} chosen=${state.run} add=${(id) => update({ run: [...state.run, id] })}/>
  </div>`;
}
