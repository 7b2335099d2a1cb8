// A curve as small as a word: how a number went, without axes.

import { html } from '../report/dom.js';

const [WIDTH, HEIGHT, EDGE] = [120, 26, 3];

/** values: one a round, null for none; steps: their places; label: what a screen reader says. */
export function Sparkline({ values, steps, best, label }) {
  const points = values.map((value, at) => [steps[at], value]).filter(([, value]) => value !== null);
  if (points.length < 2) return html`<span class="muted">–</span>`;
  const place = placing(points);
  const line = points.map((point) => place(point).join(',')).join(' ');
  const top = points.find(([step]) => step === best) ?? points.at(-1);
  const [x, y] = place(top);
  return html`<svg class="sparkline" role="img" aria-label=${label} width=${WIDTH} height=${HEIGHT} viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}>
    <polyline points=${line}/><circle cx=${x} cy=${y} r="2.5"/></svg>`;
}

function placing(points) {
  const steps = points.map(([step]) => step);
  const values = points.map(([, value]) => value);
  const scale = (low, high, size) => (value) => EDGE + ((value - low) / (high - low || 1)) * (size - 2 * EDGE);
  const across = scale(steps[0], steps.at(-1), WIDTH);
  const up = scale(Math.min(...values), Math.max(...values), HEIGHT);
  return ([step, value]) => [across(step).toFixed(1), (HEIGHT - up(value)).toFixed(1)];
}
