// Numbers, steps and names, as people read them. No number is shown as a dash.

// Tables that are asked for names from elsewhere have no prototype: `__proto__` and `constructor` are not in them.
const NAMES = {
  __proto__: null,
  exact_match: 'Exact match', normalised_match: 'Normalised match', chrf: 'chrF', bleu: 'BLEU', rouge_l: 'ROUGE-L',
  token_f1: 'Token F1', reference_nll: 'Reference NLL', mean_logprob: 'Mean log-probability', json_valid: 'Valid JSON',
  always_right: 'Always right', learned: 'Learned', forgotten: 'Forgotten', oscillating: 'Oscillating', never: 'Never right',
  error_rate: 'Failed', truncated_rate: 'Truncated', empty_rate: 'Empty', loop_rate: 'Loops', echo_rate: 'Echoes',
  valid_rate: 'Valid', churn: 'Churn', tokens_per_second: 'Tokens per second', seconds: 'Seconds',
};

export const DASH = '–';

const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

/** A name for people: `exact_match` is `Exact match`; of names that nobody knows, the first letter is large. */
export function label(name) {
  const known = NAMES[name];
  if (known) return known;
  const words = String(name).replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A number with as many digits as it needs: 0.53, 71.2, 1,204. */
export function number(value, digits) {
  if (!isNumber(value)) return DASH;
  const size = Math.abs(value);
  const places = digits ?? (size >= 1000 || (Number.isInteger(value) && size >= 10) ? 0 : size >= 10 ? 1 : size >= 0.01 || size === 0 ? 2 : 4);
  return formatOf(places).format(value);
}

const formats = new Map();

/** Making one takes a hundred times as long as using it. */
function formatOf(places) {
  if (!formats.has(places)) {
    formats.set(places, new Intl.NumberFormat('en', { minimumFractionDigits: places, maximumFractionDigits: places }));
  }
  return formats.get(places);
}

/** A difference, always with its sign: +0.53, −1.2, ±0. */
export function signed(value, digits) {
  if (!isNumber(value)) return DASH;
  const text = number(Math.abs(value), digits);
  return Number(text.replaceAll(',', '')) === 0 ? '±0' : (value > 0 ? '+' : '−') + text;
}

/** A share as per cent: 0.093 is 9 %. */
export function percent(value, digits = 0) {
  return isNumber(value) ? `${(100 * value).toFixed(digits)} %` : DASH;
}

/** A whole number with thousands set apart. */
export const count = (value) => (isNumber(value) ? formatOf(0).format(value) : DASH);

/** `1 round`, `7 rounds`. */
export const plural = (amount, word, several = `${word}s`) => `${count(amount)} ${amount === 1 ? word : several}`;

/** An epoch: whole ones without digits, others with as few as it takes. */
export const epoch = (value) => (isNumber(value) ? String(Number(value.toFixed(2))) : null);

/** A round in full: `step 40 · epoch 2`, `step 0 · base`. */
export function roundLabel(round) {
  const more = round.trigger === 'baseline' ? 'base' : epoch(round.epoch) && `epoch ${epoch(round.epoch)}`;
  return more ? `step ${count(round.step)} · ${more}` : `step ${count(round.step)}`;
}

/** Seconds as people say them: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A moment, in the reader's own time. */
export function moment(milliseconds) {
  if (!isNumber(milliseconds)) return DASH;
  return new Date(milliseconds).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
}
