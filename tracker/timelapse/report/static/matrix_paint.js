// The matrix's geometry and painting: a line a lane, a cell a round.

import { colour } from './dom.js';
import { MARK } from './run_model.js';

export const HEADING = 24;
const [LOWEST_LINE, HIGHEST_LINE] = [4, 16];
const LABEL_FROM = 11;
const SHADES = 32;

/** Where everything is: `{lines, headings, height, line, labels}`; lines are `{each, y}`. */
export function layout(groups, room) {
  const count = groups.reduce((sum, group) => sum + group.lanes.length, 0) || 1;
  const named = groups.filter((group) => group.name != null);
  const line = Math.min(HIGHEST_LINE, Math.max(LOWEST_LINE, Math.floor((room - named.length * HEADING) / count)));
  const [lines, headings] = [[], []];
  let y = 0;
  for (const group of groups) {
    if (group.name != null) {
      headings.push({ group, y });
      y += HEADING;
    }
    for (const each of group.lanes) {
      lines.push({ each, y });
      y += line;
    }
  }
  return { lines, headings, height: y + 2, line, labels: line >= LABEL_FROM ? 34 : 0 };
}

/** The line at a height, or undefined. */
export function lineAt({ lines, line }, y) {
  const at = firstBelow(lines, y - line);
  return lines[at] && y >= lines[at].y && y < lines[at].y + line ? lines[at] : undefined;
}

function firstBelow(lines, y) {
  let [low, high] = [0, lines.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle].y <= y) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Paint what is in sight: from `top` on, as much as the canvas is high. */
export function paint(canvas, map, { top, width, height, rounds, cellColour, labelColour }) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  context.font = `10px ${getComputedStyle(canvas).fontFamily}`;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  const step = (width - map.labels) / rounds;
  const gaps = [step >= 9 ? 2 : step >= 4 ? 1 : 0, map.line >= 9 ? 2 : map.line >= 6 ? 1 : 0];
  for (let at = firstBelow(map.lines, top - map.line); at < map.lines.length; at += 1) {
    const { each, y } = map.lines[at];
    if (y > top + height) break;
    if (map.labels) {
      context.fillStyle = labelColour;
      context.fillText(each.key, map.labels - 6, y - top + map.line / 2);
    }
    paintLine(context, each.lane, y - top, { map, step, gaps, rounds, cellColour });
  }
}

function paintLine(context, lane, y, { map, step, gaps, rounds, cellColour }) {
  for (let round = 0; round < rounds; round += 1) {
    const fill = cellColour(lane, round);
    if (!fill) continue;
    context.fillStyle = fill;
    const left = map.labels + round * step;
    context.fillRect(left, y, Math.max(1, step - gaps[0]), map.line - gaps[1]);
  }
}

/** What colours a cell: `(lane, round) => colour or null`, by a score's matrix, or by whether the text changed. */
export function cellColours(model, score, matrix, info) {
  const failed = colour('--cell-failed');
  const special = (mark) => (mark & (MARK.failed | MARK.skipped) ? failed : null);
  if (!matrix) {
    const [plain, changed] = [colour('--cell-plain'), colour('--cell-changed')];
    return (lane, round) => {
      const mark = model.marks[round][lane];
      return special(mark) ?? (mark & MARK.changed && score === 'changed' ? changed : mark & MARK.ok ? plain : null);
    };
  }
  const shades = gradient(['--cell-low', '--cell-mid', '--cell-high'].map(colour));
  const plain = colour('--cell-plain');
  const { worst, best } = bounds(matrix, info);
  return (lane, round) => {
    const value = matrix.values[lane]?.[round];
    const mark = model.marks[round][lane];
    if (value == null) return special(mark) ?? (mark & MARK.ok ? plain : null);
    const share = best === worst ? 1 : (value - worst) / (best - worst);
    return shades[Math.round(Math.min(1, Math.max(0, share)) * SHADES)];
  };
}

/** The worst and the best value that a score can have, or has had. */
export function bounds(matrix, info) {
  let { low = null, high = null } = info ?? {};
  if (low == null || high == null) {
    const known = matrix.values.flat().filter((value) => value != null).sort((one, other) => one - other);
    low ??= known[Math.floor(known.length * 0.02)] ?? 0;
    high ??= known[Math.ceil(known.length * 0.98) - 1] ?? 1;
  }
  return info?.higher_is_better === false ? { worst: high, best: low } : { worst: low, best: high };
}

function gradient(colours) {
  const [low, middle, high] = colours.map((each) => each.match(/[\d.]+/g).map(Number));
  return Array.from({ length: SHADES + 1 }, (_each, at) => {
    const share = (2 * at) / SHADES;
    const [from, to, part] = share <= 1 ? [low, middle, share] : [middle, high, share - 1];
    return `rgb(${from.slice(0, 3).map((value, place) => Math.round(value + (to[place] - value) * part)).join(' ')})`;
  });
}
