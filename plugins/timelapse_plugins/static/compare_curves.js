// The runs' numbers over their rounds, on one chart.

import { html, useMemo, useState } from '../report/dom.js';
import { Chart, seriesToken } from '../report/chart.js';
import { count, epoch, label, number } from '../report/format.js';
import { Choice, Dot, Segment } from './shared_views.js';

const HEIGHT = 220;
const wholeStep = (value) => (Number.isInteger(value) ? count(value) : ''); // there is no step 2.5

export function Curves({ data: compared, state, update }) {
  const data = useMemo(() => ({ ...compared, runs: lines(compared.runs) }), [compared]);
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.trends)))];
  const name = names.includes(state.curve) ? state.curve : data.score && names.includes(data.score) ? data.score : names[0];
  const byEpoch = state.axis === 'epoch' && data.runs.every((run) => run.epochs.every((each) => each !== null));
  const { x, series } = useMemo(() => curves(data, name, byEpoch), [data, name, byEpoch]);
  const scales = useMemo(() => ({ [name]: bounds(data, name) }), [data, name]);
  const [picked, setPicked] = useState(null);
  const at = picked !== null && picked < x.length ? picked : x.length - 1;
  if (!name) return null;
  return html`<section class="panel" aria-labelledby="curves">
    <header><h2 id="curves">Over training</h2>
      <${Choice} small hidden label="Curve" value=${name} choices=${names.map((each) => [each, label(each)])} choose=${(curve) => update({ curve })}/>
      <${Segment} label="Horizontal axis" value=${byEpoch ? 'epoch' : 'step'} choices=${[['step', 'by step'], ['epoch', 'by epoch']]} choose=${(axis) => update({ axis })}/>
      <span class="spacer"></span>
      <ul class="legend" aria-label=${`Values at ${byEpoch ? 'epoch' : 'step'} ${number(x[at])}`}>
        <li class="muted number">${byEpoch ? 'epoch' : 'step'} ${byEpoch ? number(x[at]) : count(x[at])}</li>
        ${data.runs.map((run, place) => html`<li><${Dot} at=${run.at}/> ${run.label} <b class="number">${number(series[place].values[at])}</b></li>`)}
      </ul></header>
    <div class="body"><${Chart} x=${x} series=${series} scales=${scales} height=${HEIGHT} cursor=${at} onPick=${setPicked}
      xLabel=${byEpoch ? (value) => epoch(value) : wholeStep} yLabel=${(value) => number(value)} label=${summary(data, name, byEpoch)}/></div>
  </section>`;
}

/** The runs that are drawn: one once, by its name, however many of its rounds are compared. `at`: its first place. */
function lines(runs) {
  const same = (one) => runs.filter((other) => other.run.run_id === one.run.run_id);
  return runs.map((run, at) => ({ ...run, at, label: same(run).length > 1 ? run.run.name : run.label }))
    .filter(({ at }) => same(runs[at])[0] === runs[at]);
}

/** `{x, series}`: the places of all runs' rounds, and a curve a run with nothing where it has no round. */
function curves(data, name, byEpoch) {
  const places = data.runs.map((run) => (byEpoch ? run.epochs : run.steps));
  const x = [...new Set(places.flat())].sort((one, other) => one - other);
  const series = data.runs.map((run, line) => {
    const values = new Map(places[line].map((place, round) => [place, run.trends[name]?.[round] ?? null]));
    return { name: run.label, token: seriesToken(run.at), scale: name, values: x.map((place) => values.get(place) ?? null) };
  });
  return { x, series };
}

/** The lowest and highest value that a number can have, as far as that is known. */
function bounds(data, name) {
  const score = data.scores.find((each) => each.name === name);
  return score ? [score.low, score.high] : name.endsWith('_rate') || name === 'churn' ? [0, 1] : [null, null];
}

function summary(data, name, byEpoch) {
  const ends = data.runs.map((run) => {
    const known = (run.trends[name] ?? []).filter((value) => value !== null);
    return `${run.label} from ${number(known[0])} to ${number(known.at(-1))}`;
  });
  return `${label(name)} by ${byEpoch ? 'epoch' : 'step'}: ${ends.join('; ')}`;
}
