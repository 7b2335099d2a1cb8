// All answers at a glance: a line a sample, a column a round, coloured by a score. Arrow keys walk through it.

import { html, memo, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from './dom.js';
import { count, label, number, plural } from './format.js';
import { bounds, cellColours, layout, lineAt, paint } from './matrix_paint.js';
import { grouped, keptLanes } from './run_model.js';
import { onTheme } from './theme.js';

const MEASURED = { __proto__: null, reference_nll: { higher_is_better: false }, mean_logprob: { higher_is_better: true } };

export const MatrixPanel = memo((props) => {
  const { model, view, update, score, scores, matrices } = props;
  const lanes = useMemo(() => keptLanes(model, view), [model, view.tag, view.where]);
  const by = view.by === 'class' && !model.hasClasses ? '' : view.by;
  const groups = useMemo(() => grouped(lanes, by), [lanes, by]);
  const info = model.overview.scores.find(({ name }) => name === score) ?? MEASURED[score];
  return html`<section class="panel matrix" aria-label="Sample by round">
    <${Heading} model=${model} amount=${lanes.length} score=${score} scores=${scores} by=${by} update=${update} />
    <${Matrix} ...${props} groups=${groups} info=${info} matrix=${matrices[score]} />
    <${Legend} score=${score} matrix=${matrices[score]} info=${info} />
  </section>`;
});

const Heading = memo(({ model, amount, score, scores, by, update }) => html`
    <header>
      <h2>Sample × round</h2><small>${plural(amount, model.several ? 'answer' : 'sample')}</small>
      <${Choice} name="Colour by" value=${score} values=${[...scores, 'changed']} onChange=${(value) => update({ score: value === scores[0] ? '' : value })} />
      <${Choice} name="Group by" value=${by} values=${groupings(model)} onChange=${(value) => update({ by: value })} />
    </header>`);

/** What lanes can be grouped by. */
export function groupings(model) {
  return ['', ...(model.hasClasses ? ['class'] : []), ...(model.tags.length ? ['tag'] : []), ...model.columns.map(({ name }) => `@${name}`)];
}

export function Choice({ name, value, values, onChange }) {
  return html`<select class="select small" aria-label=${name} title=${name} onChange=${(event) => onChange(event.target.value)}>
    ${values.map((each) => html`<option value=${each} selected=${each === value}>${each === '' ? 'no groups' : each.startsWith('@') ? each.slice(1) : label(each)}</option>`)}
  </select>`;
}

function Matrix({ model, groups, round, goTo, select, selected, score, info, matrix, texts }) {
  const [scroller, canvas] = [useRef(null), useRef(null)];
  const [size, setSize] = useState({ width: 0, room: 400 });
  const [hover, setHover] = useState(null);
  const map = useMemo(() => layout(groups, size.room), [groups, size.room]);
  const height = Math.min(size.room, map.height);
  const rounds = model.rounds.length;
  const step = (size.width - map.labels) / rounds;
  useSize(scroller, setSize);
  useEffect(() => { // whose cell is told, though the table may not show it
    if (selected) texts.want([selected.lane]);
  }, [selected, texts, model]);
  usePainting({ scroller, canvas, map, width: size.width, height, model, score, matrix, info });
  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const line = lineAt(map, event.clientY - box.top + scroller.current.scrollTop);
    const place = Math.floor((event.clientX - box.left - map.labels) / step);
    return line && place >= 0 && place < rounds ? { each: line.each, round: place, x: event.clientX, y: event.clientY } : null;
  };
  const click = (event) => {
    const cell = at(event);
    if (!cell) return;
    goTo(cell.round);
    select(cell.each.key);
  };
  const move = (event) => {
    const cell = at(event);
    if (cell) texts.want([cell.each.lane]);
    setHover(cell);
  };
  const keys = useKeys({ map, model, round, goTo, select, selected, scroller });
  const line = selected && map.lines.find(({ each }) => each.key === selected.key);
  return html`<div class="scroller" ref=${scroller} role="application" tabindex="0" onKeyDown=${keys} aria-describedby="cell"
      aria-label="Sample by round. Arrow up and down choose a sample, left and right a round.">
    <div class="sizer" style=${{ height: `${map.height}px` }} onClick=${click} onPointerMove=${move} onPointerLeave=${() => setHover(null)}>
      <canvas ref=${canvas}></canvas>
      <${Headings} map=${map} />
      ${size.width > 0 && html`<div class="column" style=${{ left: `${map.labels}px`, width: `${step}px`, transform: `translateX(${round * step}px)` }}></div>`}
      ${line && html`<div class="line" style=${{ top: `${line.y}px`, height: `${map.line}px` }}></div>`}
    </div>
    <p id="cell" class="sr-only" aria-live="polite">${selected && spoken(model, selected, round, score, matrix, texts)}</p>
    ${hover && html`<${Tip} hover=${hover} model=${model} score=${score} matrix=${matrix} texts=${texts} />`}
  </div>`;
}

const Headings = memo(({ map }) => map.headings.map(({ group, y }) => html`
  <h3 style=${{ top: `${y}px` }} dir="auto">${group.title} · ${count(group.lanes.length)}</h3>`));

function useSize(scroller, setSize) {
  useLayoutEffect(() => {
    const measure = () => {
      const [width, room] = [scroller.current.clientWidth, Math.max(220, Math.min(innerHeight - 190, 640))];
      setSize((before) => (before.width === width && before.room === room ? before : { width, room }));
    };
    const sizes = new ResizeObserver(measure);
    sizes.observe(scroller.current);
    sizes.observe(document.documentElement);
    measure();
    return () => sizes.disconnect();
  }, []);
}

/** Paint when the data, the size or the theme change, or something else is in sight; never when the round changes. */
function usePainting({ scroller, canvas, map, width, height, model, score, matrix, info }) {
  const [theme, setTheme] = useState(0);
  useEffect(() => onTheme(() => setTheme((before) => before + 1)), []);
  useLayoutEffect(() => {
    if (!width) return undefined;
    const cellColour = cellColours(model, score, matrix, info);
    const labelColour = getComputedStyle(canvas.current).color;
    let frame = 0;
    const draw = () => paint(canvas.current, map, { top: scroller.current.scrollTop, width, height, rounds: model.rounds.length, cellColour, labelColour });
    const later = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(draw);
    };
    draw();
    scroller.current.addEventListener('scroll', later, { passive: true });
    return () => {
      cancelAnimationFrame(frame);
      scroller.current?.removeEventListener('scroll', later);
    };
  }, [map, width, height, model, score, matrix, info, theme]);
}

function useKeys({ map, model, round, goTo, select, selected, scroller }) {
  return useCallback((event) => {
    const place = map.lines.findIndex(({ each }) => each.key === selected?.key);
    const [rounds, lines] = [{ ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }, { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 }];
    if (event.key in rounds) goTo(Math.min(model.last, Math.max(0, round + rounds[event.key])));
    else if (event.key in lines && map.lines.length) {
      const line = map.lines[Math.min(map.lines.length - 1, Math.max(0, place + lines[event.key]))];
      select(line.each.key);
      const box = scroller.current;
      if (line.y < box.scrollTop) box.scrollTop = line.y - 30;
      else if (line.y + map.line > box.scrollTop + box.clientHeight) box.scrollTop = line.y + map.line - box.clientHeight + 30;
    } else return;
    event.preventDefault();
  }, [map, model, round, goTo, select, selected]);
}

function spoken(model, each, round, score, matrix, texts) {
  const value = matrix?.values[each.lane]?.[round];
  const told = value == null ? '' : `, ${label(score)} ${number(value)}`;
  return `Sample ${each.key}, ${model.labels[round]}${told}: ${textAt(texts.get(each.lane), round)}`;
}

function textAt(held, round) {
  if (!held) return '…';
  if (held.leftOut) return 'not in this report';
  return held.predictions[round] ?? held.errors[round] ?? 'no answer';
}

function Tip({ hover, model, score, matrix, texts }) {
  const { each, round } = hover;
  const held = texts.get(each.lane);
  const text = textAt(held, round);
  const value = matrix?.values[each.lane]?.[round];
  const place = {
    left: `${Math.min(hover.x + 14, innerWidth - 340)}px`,
    ...(hover.y > innerHeight - 180 ? { bottom: `${innerHeight - hover.y + 12}px` } : { top: `${hover.y + 14}px` }),
  };
  return html`<div class="tip" style=${place} role="presentation">
    <p><b>Sample ${each.key}</b> · ${model.labels[round]}${value != null && html` · ${label(score)} <b>${number(value)}</b>`}</p>
    <p class="muted clip" dir="auto">${each.sample.prompt}</p>
    <p class="text clip" dir="auto">${text.slice(0, 400)}</p>
  </div>`;
}

const Legend = memo(({ score, matrix, info }) => {
  if (!matrix) {
    return html`<p class="scale">${score === 'changed' ? html`<i class="changed"></i>changed <i class="plain"></i>the same` : html`<i class="plain"></i>not scored`}</p>`;
  }
  const { worst, best } = bounds(matrix, info);
  return html`<p class="scale"><span class="number">${number(worst)}</span><i class="gradient"></i><span class="number">${number(best)}</span><span class="muted">${label(score)}</span>
    <span class="spacer"></span><i class="failed"></i>failed</p>`;
});
