// The run page: the same on a server and in a report; `source` is what differs.

import { html, useCallback, useEffect, useMemo, useState } from './dom.js';
import { AnswersPanel } from './answers_panel.js';
import { MatrixPanel } from './matrix_panel.js';
import { CurvesPanel } from './curves_panel.js';
import { RunCards } from './run_cards.js';
import { useMatrices, useRun, useTexts } from './run_data.js';
import { RunHeader } from './run_header.js';
import { laneNamed, roundAt } from './run_model.js';
import { Scrubber } from './scrubber.js';
import { TimelinePanel } from './timeline_panel.js';
import { useUrlState } from './url_state.js';

/** What the page shows, as its address has it; '' is what is usual. */
const USUAL = {
  set: '', attempt: '', step: '', sample: '', vs: 'previous', score: '', by: 'class', group: '', filter: [], tag: [], where: [],
  q: '', sort: '', col: [], lines: '', curve: [], tab: '',
};

/** source: as httpSource makes it, or reportSource. */
export function RunPage({ source }) {
  const [view, update] = useUrlState(USUAL);
  const { model, error, lost } = useRun(source, view.set || null, view.attempt || null);
  useEffect(() => {
    if (model) document.title = `${model.overview.run.name} · Timelapse`;
  }, [model]);
  if (!model) return html`<main class="page">${error ? html`<${Failure} error=${error} isPart=${view.set || view.attempt} update=${update} />` : html`<${Loading} />`}</main>`;
  return html`<main class="page stack">
    <${RunHeader} source=${source} overview=${model.overview} attempt=${view.attempt} update=${update} />
    ${lost && html`<div class="banner warn" role="status"><p><b>Connection lost.</b> ${lost.message} What you see may be old; this page keeps trying.</p></div>`}
    <${Notes} source=${source} overview=${model.overview} />
    ${model.rounds.length ? html`<${Rounds} source=${source} model=${model} view=${view} update=${update} />` : html`<${NoRounds} run=${model.overview.run} />`}
  </main>`;
}

/** All that there is to see once a run has a round. */
function Rounds({ source, model, view, update }) {
  const { overview } = model;
  const chosen = useMemo(() => ({ set: overview.set, attempt: overview.attempt }), [overview.set, overview.attempt]);
  const round = roundAt(model, view.step);
  const scores = useMemo(() => scoreNames(overview), [overview]);
  const score = scores.includes(view.score) || view.score === 'changed' ? view.score : scores[0] ?? 'changed';
  const matrices = useMatrices(source, chosen, model, scores);
  const { texts, version, error } = useTexts(source, chosen, model.rounds.length);
  const goTo = useCallback(
    (at) => update({ step: at >= model.last ? '' : String(model.rounds[Math.max(0, at)].step) }), [model, update]);
  const select = useCallback((key) => update({ sample: key }), [update]);
  const selected = laneNamed(model, view.sample);
  const shared = { source, chosen, model, view, update, round, scores, score, matrices, texts, version, goTo, select, selected };
  return html`
    <${RunCards} overview=${overview} />
    <${CurvesPanel} model=${model} round=${round} goTo=${goTo} curve=${view.curve} update=${update} />
    <${Scrubber} model=${model} round=${round} goTo=${goTo} vs=${view.vs} update=${update} />
    ${error && html`<div class="banner warn" role="status"><p><b>Some texts could not be fetched.</b> ${error.message} ${error.hint}</p></div>`}
    <div class="halves" ref=${setMatrixWidth(model.rounds.length)}>
      <${MatrixPanel} ...${shared} />
      <div class="stack">
        <${AnswersPanel} ...${shared} />
        <${TimelinePanel} source=${source} chosen=${chosen} model=${model} round=${round} goTo=${goTo} vs=${view.vs} tab=${view.tab}
          selected=${selected} update=${update} />
      </div>
    </div>`;
}

/** The more rounds, the more room for their matrix. */
const setMatrixWidth = (rounds) => (element) => {
  element?.style.setProperty('--matrix', `${90 + 6 * rounds}px`);
};

/** The scores that answers have, the one that decides first, and the measured numbers behind them. */
function scoreNames({ scores, trends }) {
  const measured = ['reference_nll', 'mean_logprob'].filter((name) => name in trends);
  return [...scores.map(({ name }) => name), ...measured];
}

function Notes({ source, overview }) {
  const notes = [...(source.notes ?? []), ...overview.problems];
  if (!notes.length) return null;
  return html`<div class="banner warn"><div>${notes.map((note) => html`<p dir="auto">${note}</p>`)}</div></div>`;
}

function NoRounds({ run }) {
  return html`<section class="panel empty">
    <h2>No predictions ${run.status === 'RUNNING' ? 'yet' : 'in this run'}</h2>
    <p>${run.state.text}</p>
  </section>`;
}

/** Shown at once, but grey bars only if it takes a while: no flicker where it is quick. */
function Loading() {
  const [isSlow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), 150);
    return () => clearTimeout(timer);
  }, []);
  return html`<div class="stack" role="status" aria-label="Loading the run">
    ${isSlow && html`<span class="skeleton wide"></span><div class="cards">${[1, 2, 3, 4, 5, 6].map(() => html`<div class="card"><span class="skeleton half"></span></div>`)}</div>
    <div class="panel empty">Loading the run…</div>`}
  </div>`;
}

function Failure({ error, isPart, update }) {
  return html`<div class="banner bad" role="alert"><div><p><b>This run cannot be shown.</b> ${error.message}</p>${error.hint && html`<p>${error.hint}</p>`}</div>
    ${isPart && html`<span class="spacer"></span><button type="button" class="button small" onClick=${() => update({ set: '', attempt: '' })}>Show what there is</button>`}</div>`;
}
