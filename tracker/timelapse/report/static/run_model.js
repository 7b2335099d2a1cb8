// What a run page computes of a run in the browser: no request is made when the scrubber moves.

import { label, roundLabel } from './format.js';

/** The bits of a mark; see report/marks.py. */
export const MARK = {
  __proto__: null,
  ok: 1, failed: 2, skipped: 4, right: 8, wrong: 16, changed: 32, learned: 64, forgotten: 128, truncated: 256, empty: 512,
  loop: 1024, echo: 2048, length_drift: 4096, script_switch: 8192, invalid: 16384,
};

/** What a filter chip may stand for, in this order; the first seven always have one. */
export const CHIPS = [
  'changed', 'learned', 'forgotten', 'wrong', 'truncated', 'invalid', 'failed',
  'empty', 'loop', 'echo', 'length_drift', 'script_switch', 'skipped',
];
const ALWAYS = 7;
const MOST_TAGS = 12;

/** An overview with what follows from it: `marks[round][lane]`, `labels` of the rounds, `lanes` with their samples, … */
export function runModel(overview) {
  const { lanes, samples, marks, rounds } = overview;
  const several = lanes.some(([, generation]) => generation > 0);
  const byRound = rounds.map((_round, at) => Int32Array.from(marks, (line) => line[at]));
  const seen = byRound.reduce((all, column) => column.reduce((bits, mark) => bits | mark, all), 0);
  return {
    overview,
    rounds,
    last: rounds.length - 1,
    several,
    scoreNames: overview.scores.map(({ name }) => name),
    hasClasses: samples.some((sample) => sample.sample_class),
    lanes: lanes.map(([place, generation], lane) => {
      const sample = samples[place];
      return { lane, sample, generation, key: several ? `${sample.index}.${generation}` : String(sample.index) };
    }),
    marks: byRound,
    labels: rounds.map(roundLabel),
    chips: CHIPS.filter((name, at) => at < ALWAYS || seen & MARK[name]),
    tags: tagsOf(samples), // the most frequent first
    columns: columnsOf(samples),
    places: placesOf(rounds),
  };
}

/** Where each round stands between 0 and 1: by step, or evenly where steps lie too close together to be told apart. */
function placesOf(rounds) {
  const last = rounds.length - 1;
  if (last < 1) return rounds.map(() => 0);
  const [first, span] = [rounds[0].step, rounds[last].step - rounds[0].step];
  const gaps = rounds.slice(1).map((round, at) => round.step - rounds[at].step);
  const isEven = Math.min(...gaps) >= span / last / 2.5;
  return rounds.map((round, at) => (isEven ? (round.step - first) / span : at / last));
}

function tagsOf(samples) {
  const counts = new Map();
  for (const sample of samples) for (const tag of sample.tags) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  return [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
}

/** The samples' other columns: `{name, values}`, values (as texts) by how often they occur. */
function columnsOf(samples) {
  const names = [...new Set(samples.flatMap((sample) => Object.keys(sample.metadata)))];
  return names.map((name) => {
    const counts = new Map();
    for (const sample of samples) {
      const value = columnOf(sample, name);
      if (value != null) counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
    }
    const values = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
    return { name, values };
  });
}

/** A sample's value in one of its other columns; null where it has none. */
export function columnOf(sample, name) {
  return Object.hasOwn(sample.metadata, name) ? sample.metadata[name] : null;
}

/** The round (its index) that a step names; the last one for none, or for one that is not there. */
export function roundAt(model, step) {
  if (step === '' || step == null) return model.last;
  const found = model.rounds.findIndex((round) => String(round.step) === String(step));
  return found < 0 ? model.last : found;
}

/** The lane that an address names: by its key here, or as `id:<sample id>.<generation>` from where other keys hold; or null. */
export function laneNamed(model, name) {
  const isNamed = name.startsWith('id:') ? (each) => `id:${each.sample.sample_id}.${each.generation}` === name : ({ key }) => key === name;
  return model.lanes.find(isNamed) ?? null;
}

/** The lanes that tags and columns let through: the same in all rounds. `where` holds `column=value`. */
export function keptLanes(model, { tag, where }) {
  const asked = where.map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)]);
  if (!tag.length && !asked.length) return model.lanes;
  return model.lanes.filter(({ sample }) =>
    tag.every((each) => sample.tags.includes(each))
    && asked.every(([name, value]) => String(columnOf(sample, name) ?? '') === value));
}

/** Those of the lanes that are shown at a round: with all the marks of `filter`, and in `found` if that is a set. */
export function lanesAt(model, lanes, round, filter, found) {
  const wanted = filter.reduce((bits, name) => bits | (MARK[name] ?? 0), 0);
  if (!wanted && !found) return lanes;
  const marks = model.marks[round];
  return lanes.filter(({ lane }) => (marks[lane] & wanted) === wanted && (!found || found.has(lane)));
}

/** How many of the lanes have each mark at a round, by the chips' names. */
export function countsAt(model, lanes, round) {
  const [marks, bits] = [model.marks[round], model.chips.map((name) => MARK[name])];
  const counts = bits.map(() => 0);
  for (let at = 0; at < lanes.length; at += 1) {
    const mark = marks[lanes[at].lane];
    for (let bit = 0; bit < bits.length; bit += 1) if (mark & bits[bit]) counts[bit] += 1;
  }
  return Object.fromEntries(model.chips.map((name, at) => [name, counts[at]]));
}

/** The tags that have a chip: the most frequent ones, and whichever are filtered by. */
export const chipTags = (model, chosen) => [...new Set([...model.tags.slice(0, MOST_TAGS), ...chosen])];

/** How many of the lanes have each of some tags. */
export function tagCounts(tags, lanes) {
  return new Map(tags.map((tag) => [tag, lanes.filter(({ sample }) => sample.tags.includes(tag)).length]));
}

const CLASSES = ['forgotten', 'oscillating', 'never', 'learned', 'always_right'];

/** The lanes by a key: `-` in front means descending; `score:<name>` and `@<column>` besides the columns' own names. */
export function sorted(lanes, sort, round, matrices) {
  const [name, sign] = sort.startsWith('-') ? [sort.slice(1), -1] : [sort, 1];
  const key = sortKey(name, round, matrices);
  if (!key) return lanes;
  const keyed = lanes.map((each) => [key(each), each]);
  keyed.sort(([one], [other]) => {
    if (one == null || other == null) return (one == null) - (other == null); // what is not known comes last
    return sign * (typeof one === 'string' ? one.localeCompare(other) : one - other);
  });
  return keyed.map(([, each]) => each);
}

function sortKey(name, round, matrices) {
  if (name.startsWith('score:')) {
    const values = matrices[name.slice(6)]?.values;
    return values && (({ lane }) => values[lane]?.[round]);
  }
  if (name.startsWith('@')) return ({ sample }) => columnOf(sample, name.slice(1));
  return {
    __proto__: null,
    index: ({ sample }) => sample.index,
    prompt: ({ sample }) => sample.prompt,
    reference: ({ sample }) => sample.reference,
    class: ({ sample }) => (sample.sample_class ? CLASSES.indexOf(sample.sample_class) : null),
  }[name];
}

/** The lanes in groups, `[{name, title, lanes}]`: by `class`, `tag` or `@<column>`; one group without a name for none. */
export function grouped(lanes, by) {
  if (!by) return [{ name: null, lanes }];
  const title = (name) => (name === '' ? 'None' : by === 'class' ? label(name) : name); // values of somebody's stay as they are
  const order = by === 'class' ? ['always_right', 'learned', 'oscillating', 'forgotten', 'never'] : [];
  const groups = new Map(order.map((name) => [name, []]));
  for (const each of lanes) {
    const name = groupOf(each.sample, by) ?? '';
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(each);
  }
  return [...groups].filter(([, members]) => members.length).map(([name, members]) => ({ name, title: title(name), lanes: members }));
}

function groupOf(sample, by) {
  if (by === 'class') return sample.sample_class;
  if (by === 'tag') return sample.tags.join(', ');
  const value = columnOf(sample, by.slice(1));
  return value == null ? null : String(value);
}
