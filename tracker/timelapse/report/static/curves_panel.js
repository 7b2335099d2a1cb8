// Scores over steps. Its plot and the scrubber below stand on the same rail, so that cursor and knob are one.

import { cx, html, memo, menuEvents, useMemo } from './dom.js';
import { Chart, seriesToken } from './chart.js';
import { label, number } from './format.js';

const UNIT = '0:1';
const RATES = new Set(['churn', 'error_rate', 'truncated_rate', 'empty_rate', 'loop_rate', 'echo_rate', 'valid_rate', 'length_drift_rate', 'script_switch_rate']);
const MOST_USUAL = 4;

export const CurvesPanel = memo(({ model, round, goTo, curve, update }) => {
  const { overview, places } = model;
  const names = useMemo(() => Object.keys(overview.trends), [overview]);
  const shown = useMemo(() => chosen(overview, curve.filter((name) => names.includes(name))), [overview, names, curve]);
  const { series, scales } = useMemo(() => curves(overview, shown), [overview, shown]);
  const said = useMemo(() => describe(model, shown), [model, shown]);
  if (!names.length) return null;
    return html`<section class="panel curves" aria-label="Scores over training">
    <${Chart} x=${places} series=${series} scales=${scales} cursor=${round} onPick=${goTo} height=${168} left=${56} right=${16} xLabel=${null}
      yLabel=${axisLabel} label=${said} />
    <div class="legend">
      <div class="row"><h2>At ${model.labels[round]}</h2><span class="spacer"></span>
        <${CurveMenu} names=${names} shown=${shown} update=${update} /></div>
      <ul>${shown.map((name, at) => html`<${Key} name=${name} at=${at} values=${overview.trends[name]} round=${round} isOwn=${Boolean(series[at].dash)} />`)}</ul>
    </div>
  </section>`;
});

const axisLabel = (value) => String(Number(value.toPrecision(6)));

function Key({ name, at, values, round, isOwn }) {
  const change = round > 0 && values[round] != null && values[round - 1] != null ? values[round] - values[round - 1] : 0;
  return html`<li class=${cx('key', `s${1 + (at % 7)}`, isOwn && 'own')} title=${isOwn ? 'drawn on a scale of its own' : undefined}><i aria-hidden="true"></i><span class="name" title=${label(name)}>${label(name)}</span>
    <b class="number">${number(values[round])}</b><small class="number" aria-hidden="true">${change > 0 ? '▲' : change < 0 ? '▼' : ''}</small></li>`;
}

const CurveMenu = memo(({ names, shown, update }) => {
  const toggle = (name) => update({ curve: shown.includes(name) ? shown.filter((each) => each !== name) : [...shown, name] });
  return html`<details class="menu" ...${menuEvents}>
    <summary class="button small">Curves</summary>
    <div class="list">${names.map((name) => html`<label class=${cx('check', 'entry')}>
      <input type="checkbox" checked=${shown.includes(name)} onChange=${() => toggle(name)} />${label(name)}</label>`)}</div>
  </details>`;
});

/** The curves that were asked for; else the first scores and the reference loss. */
function chosen({ scores, trends }, asked) {
  if (asked.length) return asked;
  const usual = scores.map(({ name }) => name).filter((name) => name in trends).slice(0, 3);
  if ('reference_nll' in trends) usual.push('reference_nll');
  return usual.length ? usual : Object.keys(trends).slice(0, MOST_USUAL);
}

/** What can be compared stands on one scale: shares and scores from 0 to 1; everything else on its own. */
function curves({ scores, trends }, shown) {
  const known = Object.fromEntries(scores.map((score) => [score.name, score]));
  const scales = {};
  const series = shown.map((name, at) => {
    const scale = scaleOf(name, known[name]) ?? `own ${at}`; // never a name of somebody's: uPlot's own keys are near
    scales[scale] = scale.includes(':') ? scale.split(':').map(Number) : null;
    return { name, values: trends[name], token: seriesToken(at), scale, dash: scale === UNIT ? undefined : [6, 4] };
  });
  const first = UNIT in scales ? { [UNIT]: [-0.02, 1.02] } : {};
  return { series, scales: { ...first, ...scales, ...first } };
}

function scaleOf(name, score) {
  if (RATES.has(name)) return UNIT;
  return score?.low != null && score.high != null ? `${score.low}:${score.high}` : null;
}

function describe(model, shown) {
  const { trends } = model.overview;
  const ends = shown.map((name) => `${label(name)} from ${number(trends[name][0])} to ${number(trends[name][model.last])}`);
  return `Curves over ${model.rounds.length} rounds: ${ends.join('; ')}.`;
}
