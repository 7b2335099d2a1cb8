// Where we are: the run's name and state, and what can be done with it.

import { CopyButton } from './copy_button.js';
import { html, memo, menuEvents } from './dom.js';
import { duration, moment, percent, plural } from './format.js';
import { StateBadge } from './state_badge.js';

const FORMATS = { csv: 'CSV', parquet: 'Parquet', jsonl: 'JSON lines', html: 'HTML report' };

export const RunHeader = memo(({ source, overview, attempt, update }) => {
  const { run } = overview;
  return html`<header class="run-header">
    <${Crumbs} run=${run} links=${source.links} />
    <div class="row">
      <h1 dir="auto">${run.name}</h1>
      <span class="badge info">${plural(overview.rounds.length, 'round')}</span>
      <${StateBadge} state=${run.state} />
      <span class="spacer"></span>
      <${Sets} source=${source} overview=${overview} attempt=${attempt} update=${update} />
      <${Actions} run=${run} source=${source} />
    </div>
    <${Facts} overview=${overview} />
  </header>`;
});

function Crumbs({ run, links }) {
  if (!links) return html`<p class="crumbs"><span dir="auto">${run.experiment}</span><span>›</span><span>report</span></p>`;
  return html`<nav class="crumbs" aria-label="Breadcrumb">
    <a href=${links.experiment(run)} target="_top" dir="auto">${run.experiment}</a><span aria-hidden="true">›</span>
    <a href=${links.runs(run)} target="_top">Predictions</a><span aria-hidden="true">›</span>
  </nav>`;
}

function Actions({ run, source }) {
  const { links } = source;
  const exports = Object.keys(FORMATS).map((format) => [format, source.exportUrl(format)]).filter(([, url]) => url);
  if (!links) return null;
  return html`
    <a class="button" href=${links.mlflow(run)} target="_top">Open in MLflow</a>
    ${exports.length > 0 && html`<details class="menu" ...${menuEvents}>
      <summary class="button">Export</summary>
      <div>${exports.map(([format, url]) => html`<a href=${url} download>${FORMATS[format]}</a>`)}</div>
    </details>`}
    <${CopyButton} />
    <a class="button primary" href=${links.compare(run)} target="_top">Compare with…</a>`;
}

/** Which sample set and attempt are shown, where there are several. */
function Sets({ source, overview, attempt, update }) {
  const sets = source.sets ?? overview.sets; // a report may hold fewer than the run
  const attempts = source.attemptsOf?.(overview.set) ?? overview.attempts;
  return html`
    ${sets.length > 1 && html`<label class="field">Samples
      <select class="select" aria-label="Sample set" value=${overview.set} onChange=${(event) => update({ set: event.target.value, attempt: '', step: '', sample: '', where: [], tag: [] })}>
        ${sets.map((name) => html`<option value=${name} selected=${name === overview.set}>${name}</option>`)}
      </select></label>`}
    ${overview.attempts.length > 1 && attempts.length > 0 && html`<label class="field">Attempt
      <select class="select" aria-label="Attempt" value=${attempt} onChange=${(event) => update({ attempt: event.target.value, step: '' })}>
        <option value="">newest of each step</option>
        ${attempts.map((number) => html`<option value=${String(number)} selected=${String(number) === attempt}>${number}</option>`)}
      </select></label>`}`;
}

function Facts({ overview }) {
  const { run } = overview;
  const seconds = run.end_time && run.start_time ? (run.end_time - run.start_time) / 1000 : null;
  const facts = [
    `${plural(overview.samples.length, 'sample')}`,
    overview.right && `right means ${overview.right.score} ≥ ${overview.right.least}`,
    run.start_time && `started ${moment(run.start_time)}`,
    seconds && `took ${duration(seconds)}`,
    run.share_of_training_time != null && `predictions took ${percent(run.share_of_training_time, 1)} of the time`,
    run.job_id && `job ${run.job_id}`,
    run.claimed_by && `claimed by ${run.claimed_by}`,
  ];
  return html`<p class="facts">${facts.filter(Boolean).map((fact) => html`<span dir="auto">${fact}</span>`)}</p>`;
}
