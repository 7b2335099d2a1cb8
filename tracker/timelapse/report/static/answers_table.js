// The table of answers. Only rows in sight exist; each is drawn anew only when its own texts or numbers change.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from './dom.js';
import { AnswerRow, unusualEnd } from './answer_row.js';
import { number, plural } from './format.js';
import { comparedWith } from './texts_store.js';

const [LINE, PADDING, HEAD, GAP] = [19, 13, 40, 12];
const OVERSCAN = 2;
const AHEAD = 20;

export function AnswersTable(props) {
  const { model, view, update, groups, columns, lines, texts, version, round, selected, select } = props;
  const scroller = useRef(null);
  const height = lines * LINE + PADDING;
  const items = useMemo(() => groups.flatMap((group) => [...(group.name == null ? [] : [{ group }]), ...group.lanes]), [groups]);
  const [first, last] = useRange(scroller, height, items.length);
  const shown = useSteady(items, round, first, last, texts, version);
  useEffect(() => {
    const near = items.slice(Math.max(0, first - AHEAD), last + AHEAD).filter((item) => item.sample);
    texts.want([...items.slice(first, last).filter((item) => item.sample), ...near].map(({ lane }) => lane));
  }, [items, first, last, texts, model]);
  const keys = useRowKeys({ items, selected, select, scroller, height });
  const least = columns.reduce((sum, column) => sum + column.least + GAP, GAP);
  const style = { '--columns': columns.map(({ width }) => width).join(' '), '--least': `${least}px`, '--lines': lines, '--row': `${height}px` };
  return html`<div class="scroller" ref=${scroller} tabindex="0" role="region" aria-label="Table of predictions. Arrow up and down choose a row." onKeyDown=${keys}>
    <div class="grid" role="table" aria-rowcount=${items.length + 1} aria-busy=${String(shown.round !== round)} ref=${setStyle(style)}>
      <${Head} columns=${columns} view=${view} update=${update} />
      <div role="rowgroup" style=${{ height: `${shown.items.length * height}px` }}>
        <div class="window" style=${{ transform: `translateY(${first * height}px)` }}>
          ${shown.items.slice(first, last).map((item, at) => (item.sample
            ? html`<${AnswerRow} key=${item.lane} ...${rowOf(item, shown.round, props)} place=${first + at + 2} />`
            : html`<${GroupRow} key=${`group ${item.group.name}`} group=${item.group} />`))}
        </div>
      </div>
      ${!items.length && html`<p class="empty">No row matches. <button type="button" class="button quiet small" onClick=${() => update({ filter: [], tag: [], where: [], q: '' })}>Clear the filters</button></p>`}
    </div>
  </div>`;
}

/** Custom properties are no attributes: the security policy allows none with styles. */
const setStyle = (style) => (element) => {
  for (const [name, value] of Object.entries(style)) element?.style.setProperty(name, value);
};

/** A row's own data, all of it plain values: so it can be told whether there is anything new to draw. */
function rowOf(item, round, { lines, model, view, columns, matrices, texts, selected, select }) {
  const held = texts.get(item.lane);
  return {
    item,
    lines,
    columns,
    select,
    isSelected: selected?.key === item.key,
    isLoading: !held,
    isLeftOut: Boolean(held?.leftOut),
    text: held?.predictions[round] ?? null,
    before: held ? comparedWith(held, round, view.vs) : null,
    error: held?.errors[round] ?? null,
    findings: held?.findings?.[round] ?? null,
    ended: unusualEnd(held?.finish_reasons?.[round]),
    mark: model.marks[round][item.lane],
    numbers: columns.filter(({ kind }) => kind === 'score').map(({ name }) => number(matrices[name]?.values[item.lane]?.[round])).join(' '),
  };
}

function Head({ columns, view, update }) {
  const click = (sort) => update({ sort: view.sort === sort ? `-${sort}` : view.sort === `-${sort}` ? '' : sort });
  return html`<div class="head" role="rowgroup"><div class="tr" role="row" aria-rowindex="1">${columns.map(({ key, kind, title, sort }) => {
    const order = !sort ? undefined : view.sort === sort ? 'ascending' : view.sort === `-${sort}` ? 'descending' : 'none';
    return html`<div role="columnheader" key=${key} class=${kind} aria-sort=${order}>${sort
      ? html`<button type="button" onClick=${() => click(sort)} dir="auto">${title}<i aria-hidden="true">${order === 'ascending' ? '↑' : order === 'descending' ? '↓' : ''}</i></button>` : title}</div>`;
  })}</div></div>`;
}

function GroupRow({ group }) {
  return html`<div class="tr group" role="row"><div role="cell" dir="auto">${group.title} · ${plural(group.lanes.length, 'row')}</div></div>`;
}

/** First and last (exclusive) of the items in sight: of the part of the table that is inside the window. */
function useRange(scroller, height, count) {
  const [range, setRange] = useState([0, 30]);
  useLayoutEffect(() => {
    const measure = () => {
      const { scrollTop, clientHeight } = scroller.current;
      const box = scroller.current.getBoundingClientRect();
      const above = Math.min(Math.max(0, -box.top), clientHeight);
      const below = Math.min(Math.max(0, box.top + clientHeight - innerHeight), clientHeight - above);
      const first = Math.max(0, Math.floor((scrollTop + above - HEAD) / height) - OVERSCAN);
      const last = Math.ceil((scrollTop + clientHeight - below) / height) + OVERSCAN;
      setRange((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    };
    const sizes = new ResizeObserver(measure);
    sizes.observe(scroller.current);
    sizes.observe(document.body);
    const settings = { passive: true, capture: true }; // whatever scrolls: the table, the window
    addEventListener('scroll', measure, settings);
    addEventListener('resize', measure);
    measure();
    return () => {
      sizes.disconnect();
      removeEventListener('scroll', measure, settings);
      removeEventListener('resize', measure);
    };
  }, [height]);
  const first = Math.min(range[0], Math.max(0, count - 1));
  return [first, Math.min(count, Math.max(range[1], first + 1))];
}

/** What to show: other rows only when their texts are there; until then the old rows at their round. */
function useSteady(items, round, first, last, texts, version) {
  const held = useRef(null);
  return useMemo(() => {
    const isReady = items.slice(first, last).every((item) => !item.sample || texts.has(item.lane));
    const isSame = !held.current || held.current.items === items || held.current.texts !== texts;
    if (isReady || isSame) held.current = { items, round, texts };
    return held.current;
  }, [items, round, first, last, texts, version]);
}

function useRowKeys({ items, selected, select, scroller, height }) {
  return (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || event.target.closest('button')) return;
    const rows = items.filter((item) => item.sample);
    if (!rows.length) return;
    const place = rows.findIndex((item) => item.key === selected?.key);
    const next = rows[Math.min(rows.length - 1, Math.max(0, place + step))];
    select(next.key);
    const [top, box] = [items.indexOf(next) * height, scroller.current];
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + height + HEAD > box.scrollTop + box.clientHeight) box.scrollTop = top + height + HEAD - box.clientHeight;
    event.preventDefault();
  };
}
