// How one text became another, in words; the same rules as analysis/diff.py, so that terminal and pages agree.

import { diffChars } from './vendor/diff.js';

// White space, single characters of scripts without spaces, words, emoji, and single other characters.
const TOKEN = /\s+|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[[\p{L}\p{M}\p{N}_]--[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]]+|\p{RGI_Emoji}|[^\s]/gv;
const MOST_TOKENS = 20_000;
const MOST_EDITS = 600; // the time grows with edits × tokens: texts that differ more are shown as replaced
const MOST_KEPT = 4_000;
const FIRST_CODE = 0x10000;

const kept = new Map();
let size = 0;

/**
 * Pieces `{text, kind}` in order, kind `same`, `ins` or `del`: same and ins together are `after`, same and del `before`.
 * What was asked before is remembered.
 */
export function wordDiff(before, after) {
  let pairs = kept.get(before);
  if (!pairs) kept.set(before, (pairs = new Map()));
  let found = pairs.get(after);
  if (!found) {
    if (++size > MOST_KEPT) {
      kept.clear();
      kept.set(before, (pairs = new Map()));
      size = 1;
    }
    found = compare(before, after);
    pairs.set(after, found);
  }
  return found;
}

function compare(before, after) {
  if (before === after) return after ? [{ text: after, kind: 'same' }] : [];
  const [old, fresh] = [before.match(TOKEN) ?? [], after.match(TOKEN) ?? []];
  const parts = Math.max(old.length, fresh.length) <= MOST_TOKENS && tokenParts(old, fresh);
  if (!parts) return joined([{ text: before, kind: 'del' }, { text: after, kind: 'ins' }]);
  return joined(parts.flatMap(absorbWhiteSpace));
}

/** Each token stands as one character of its own, so that the library's comparison of characters is one of tokens. */
function tokenParts(old, fresh) {
  const codes = new Map();
  const code = (token) => {
    if (!codes.has(token)) codes.set(token, String.fromCodePoint(FIRST_CODE + codes.size));
    return codes.get(token);
  };
  const parts = diffChars(old.map(code).join(''), fresh.map(code).join(''), { maxEditLength: MOST_EDITS });
  if (!parts) return null;
  let [at, next] = [0, 0];
  return parts.map((part) => {
    const length = part.value.length / 2; // each such character is a pair of UTF-16 units
    const kind = part.added ? 'ins' : part.removed ? 'del' : 'same';
    const text = (kind === 'del' ? old.slice(at, at + length) : fresh.slice(next, next + length)).join('');
    if (kind !== 'ins') at += length;
    if (kind !== 'del') next += length;
    return { text, kind };
  });
}

/** White space that stayed between two changes becomes part of them: one change reads better than two. */
function absorbWhiteSpace(piece, at, pieces) {
  const between = piece.kind === 'same' && at > 0 && at < pieces.length - 1 && !piece.text.trim();
  return between ? [{ text: piece.text, kind: 'del' }, { text: piece.text, kind: 'ins' }] : [piece];
}

/** Neighbouring changes are one deletion and one insertion. */
function joined(pieces) {
  const result = [];
  let [gone, come] = ['', ''];
  for (const piece of [...pieces, { text: '', kind: 'same' }]) {
    if (piece.kind === 'del') gone += piece.text;
    else if (piece.kind === 'ins') come += piece.text;
    else {
      if (gone) result.push({ text: gone, kind: 'del' });
      if (come) result.push({ text: come, kind: 'ins' });
      if (piece.text) result.push(piece);
      [gone, come] = ['', ''];
    }
  }
  return result;
}
