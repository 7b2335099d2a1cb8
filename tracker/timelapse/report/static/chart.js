// Curves over steps: uPlot in our colours, with a cursor that follows what the page shows.

import { html, colour, useEffect, useLayoutEffect, useRef, useState } from './dom.js';
import { onTheme } from './theme.js';
import uPlot from './vendor/uplot.js';

const SERIES_COLOURS = 7;
const UNBOUND = Object.fromEntries(
  ['mousedown', 'mouseup', 'click', 'dblclick', 'mousemove', 'mouseleave', 'mouseenter'].map((name) => [name, () => null]),
);

/** The colour token of the n-th curve. */
export const seriesToken = (at) => `--series-${1 + (at % SERIES_COLOURS)}`;

/**
 * x: the places of the points, ascending. series: `[{name, values, token, scale, dash}]`, values as long as x, null for none.
 * scales: `{name: [low, high]}` with null for as the values are; the first one has the axis.
 * cursor: index of the point that is shown, or null. onPick(index): called while the pointer is down on the plot.
 * xLabel(x), yLabel(value): texts of the axes; xLabel null leaves that axis out. label: what a screen reader says of it.
 */
export function Chart({ x, series, scales, cursor = null, onPick, height = 160, xLabel = String, yLabel = String, label, left = 48, right = 12 }) {
  const host = useRef(null);
  const plot = useRef(null);
  const pick = useRef(onPick);
  pick.current = onPick;
  const now = useRef(cursor);
  now.current = cursor;
  const themed = useRedraws(host);
  useEffect(() => {
    const settings = { x, now, series, scales, height, xLabel, yLabel, left, right, width: host.current.clientWidth };
    plot.current = new uPlot(options(settings), [x, ...series.map((each) => each.values)], host.current);
    const stop = listen(plot.current, pick);
    return () => {
      stop();
      plot.current.destroy();
    };
  }, [x, series, scales, height, left, right, themed]);
  useLayoutEffect(() => { // in the frame in which the rest moves: a second one costs as much again
    if (plot.current) place(plot.current, x, cursor);
  }, [cursor]);
  return html`<div class="chart" role="img" aria-label=${label} ref=${host}></div>`;
}

/** A number that grows whenever all must be drawn anew: another theme, another width. */
function useRedraws(host) {
  const [redraws, setRedraws] = useState(0);
  useEffect(() => {
    const redraw = () => setRedraws((before) => before + 1);
    let width = host.current.clientWidth;
    const sizes = new ResizeObserver(() => {
      if (host.current && host.current.clientWidth !== width) {
        width = host.current.clientWidth;
        redraw();
      }
    });
    sizes.observe(host.current);
    const stop = onTheme(redraw);
    return () => {
      sizes.disconnect();
      stop();
    };
  }, []);
  return redraws;
}

function options({ x, now, series, scales, height, xLabel, yLabel, left, right, width }) {
  const [line, muted] = [colour('--line-soft'), colour('--muted')];
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  const names = Object.keys(scales);
  return {
    width: Math.max(width, 120),
    height,
    legend: { show: false },
    hooks: { ready: [(plot) => place(plot, x, now.current)] },
    padding: [10, right, xLabel ? 0 : 6, 0],
    cursor: { x: true, y: false, drag: { x: false, y: false }, points: { size: 8 }, bind: UNBOUND },
    scales: {
      x: { time: false, range: [x[0], x.length > 1 ? x[x.length - 1] : x[0] + 1] },
      ...Object.fromEntries(names.map((name) => [name, { range: (_plot, low, high) => range(scales[name], low, high) }])),
    },
    axes: [
      { ...axis, show: Boolean(xLabel), size: 26, grid: { show: false }, values: (_plot, ticks) => ticks.map(xLabel ?? String) },
      ...names.slice(0, 1).map((scale) => ({ ...axis, scale, size: left, values: (_plot, ticks) => ticks.map(yLabel) })),
    ],
    series: [{}, ...series.map((each, at) => ({
      label: each.name,
      scale: each.scale ?? names[0],
      stroke: colour(each.token ?? seriesToken(at)),
      width: 2,
      dash: each.dash,
      spanGaps: true,
      points: { show: x.length <= 60, size: 5 },
    }))],
  };
}

function range(bounds, low, high) {
  const room = ((high ?? 1) - (low ?? 0)) * 0.08 || 0.5;
  return [bounds?.[0] ?? (low ?? 0) - room, bounds?.[1] ?? (high ?? 1) + room];
}

/** Put the cursor on a point. uPlot's own would follow the mouse: the page decides where it is. */
function place(plot, x, cursor) {
  if (cursor == null || !(cursor in x)) plot.setCursor({ left: -10, top: -10 }, false);
  else plot.setCursor({ left: plot.valToPos(x[cursor], 'x'), top: 0 }, false);
}

function listen(plot, pick) {
  const area = plot.over;
  const go = (event) => {
    if (event.buttons & 1) pick.current?.(plot.posToIdx(event.clientX - area.getBoundingClientRect().left));
  };
  const down = (event) => {
    area.setPointerCapture(event.pointerId);
    go(event);
  };
  area.addEventListener('pointerdown', down);
  area.addEventListener('pointermove', go);
  return () => {
    area.removeEventListener('pointerdown', down);
    area.removeEventListener('pointermove', go);
  };
}
