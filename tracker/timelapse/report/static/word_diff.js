// How one text became another, in words; the same rules as analysis/diff.py, so that terminal and pages agree.

import { diff } from './vendor/diff.js';

// White space, single characters of scripts without spaces, words, emoji, and single other characters.
const TOKEN = /\s+|[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[[\p{L}\p{M}\p{N}_]--[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]]+|\p{RGI_Emoji}|[^\s]/gv;
const MOST_LOOKS = 3_000_000; // at two tokens, a tenth of a second: texts that differ more are shown as replaced
const TOO_DIFFERENT = {};
const MOST_KEPT = 4_000;

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
  return joined(tokenPieces(old, fresh)?.flatMap(absorbWhiteSpace) ?? [{ text: before, kind: 'del' }, { text: after, kind: 'ins' }]);
}

/** Pieces of tokens that stayed, went and came; null where the texts have too little in common to look for it. */
function tokenPieces(old, fresh) {
  let looks = 0;
  const isSame = (at, to) => {
    looks += 1;
    if (looks > MOST_LOOKS) throw TOO_DIFFERENT;
    return old[at] === fresh[to];
  };
  const pieces = [];
  const add = (kind, tokens, from, to) => from < to && pieces.push({ kind, text: tokens.slice(from, to).join('') });
  let next = 0;
  try {
    for (const [from, to, freshFrom, freshTo] of diff(old, fresh, isSame)) {
      add('same', fresh, next, freshFrom);
      add('del', old, from, to);
      add('ins', fresh, freshFrom, freshTo);
      next = freshTo;
    }
  } catch (error) {
    if (error !== TOO_DIFFERENT) throw error;
    return null;
  }
  add('same', fresh, next, fresh.length);
  return pieces;
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
