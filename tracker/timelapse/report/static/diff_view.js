// A text and what has changed in it. Model text becomes text nodes, never markup.

import { html, memo, useLayoutEffect, useRef } from './dom.js';
import { wordDiff } from './word_diff.js';

/**
 * Shows `after`, with what is different from `before`: deletions struck through, additions underlined.
 *
 * before: the text compared with; null or undefined for none.
 * after: the text shown; null for none.
 * mode: `words` (additions and deletions), `added` (additions alone), `off` (just the text).
 * limit: characters of each text that are looked at, around the first difference; all by default.
 * longest: characters of one deletion that are shown: where there is little room, what is gone must not push what has
 *   come out of sight; all by default.
 */
export const DiffView = memo(({ before, after, mode = 'words', limit = Infinity, longest = Infinity }) => {
  const isPlain = mode === 'off' || before == null || after == null || before === after;
  const pieces = isPlain ? [{ text: excerpt(after ?? '', 0, limit), kind: 'same' }] : differences(before, after, limit);
  const shown = mode === 'added' ? pieces.filter((piece) => piece.kind !== 'del') : pieces;
  const host = useRef(null);
  // Written straight into the document: from round to round all pieces are others, and there is nothing to reconcile.
  useLayoutEffect(() => host.current.replaceChildren(...shown.map((piece) => pieceNode(piece, longest))));
  return html`<span class="text" dir="auto" ref=${host}></span>`;
});

function pieceNode({ text, kind }, longest) {
  if (kind === 'same') return document.createTextNode(text);
  const node = document.createElement(kind);
  node.textContent = kind === 'del' && text.length > longest ? `${text.slice(0, longest - 9)} … ${text.slice(-6)}` : text;
  return node;
}

function differences(before, after, limit) {
  if (before.length <= limit && after.length <= limit) return wordDiff(before, after);
  const start = Math.max(0, firstDifference(before, after) - Math.floor(limit / 3));
  const from = start < limit / 4 ? 0 : start;
  return wordDiff(excerpt(before, from, limit), excerpt(after, from, limit));
}

function firstDifference(one, other) {
  const length = Math.min(one.length, other.length);
  let at = 0;
  while (at < length && one.charCodeAt(at) === other.charCodeAt(at)) at += 1;
  return at;
}

/** `limit` characters of a text from a place on, with dots where something was left out. */
function excerpt(text, from, limit) {
  if (!from && text.length <= limit) return text;
  const end = from + limit;
  return (from ? '… ' : '') + text.slice(from, end) + (end < text.length ? ' …' : '');
}
