// Plain data as YAML that every reader takes for the same data, YAML 1.1 (PyYAML) and 1.2 alike. There is no reader here:
// what somebody types is read by the server, which is the one that counts.

// Words that YAML 1.1 or 1.2 would read as something else than text.
const SPECIAL = /^(~|null|true|false|yes|no|on|off|y|n)$/i;
// Safe without quotes: begins with a letter or a path's beginning; a colon only before a letter or digit; no `#`, no bracket.
const PLAIN = /^(?:[A-Za-z_]|\.{0,2}\/)(?:[A-Za-z0-9_./+-]|:(?=[A-Za-z0-9_/])| (?=[A-Za-z0-9_(]))*$/;
const UNPRINTABLE = /[\u007f-\u009f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]/g;

/** Data as YAML: mappings and lists as blocks, texts in quotes wherever they could be taken for something else. */
export function toYaml(data) {
  return isEmpty(data) || typeof data !== 'object' ? `${scalar(data, '')}\n` : `${block(data, '').join('\n')}\n`;
}

const isEmpty = (value) => value === null || (typeof value === 'object' && !Object.keys(value).length);

function block(value, indent) {
  if (Array.isArray(value)) return value.flatMap((item) => listed(item, indent));
  return Object.entries(value).flatMap(([key, item]) => entry(`${indent}${text(key)}:`, item, indent));
}

function listed(item, indent) {
  if (isEmpty(item) || typeof item !== 'object') return entry(`${indent}-`, item, indent);
  const [first, ...rest] = block(item, `${indent}  `);
  return [`${indent}- ${first.slice(indent.length + 2)}`, ...rest];
}

function entry(start, item, indent) {
  if (isEmpty(item) || typeof item !== 'object') return [`${start} ${scalar(item, indent)}`];
  return [start, ...block(item, `${indent}  `)];
}

function scalar(value, indent) {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return '[]';
  if (typeof value === 'object') return '{}';
  if (typeof value === 'number') return number(value);
  if (typeof value === 'boolean') return String(value);
  return lines(value, indent) ?? text(value);
}

/** `1e-7` is text in YAML 1.1: it wants a point and a sign. A whole number that is too large to be exact is no integer. */
function number(value) {
  const told = Math.abs(value) > Number.MAX_SAFE_INTEGER ? value.toExponential() : String(value);
  if (!told.includes('e')) return told;
  const [digits, exponent] = told.split('e');
  return `${digits.includes('.') ? digits : `${digits}.0`}e${/^[+-]/.test(exponent) ? exponent : `+${exponent}`}`;
}

function text(value) {
  return PLAIN.test(value) && !SPECIAL.test(value) ? value : quoted(value);
}

/** In double quotes, as JSON has them; what YAML's readers refuse or fold is escaped, too. */
function quoted(value) {
  return JSON.stringify(value).replace(UNPRINTABLE, (unit, at, whole) => (isPair(whole, at) ? unit : `\\u${hex(unit.charCodeAt(0))}`));
}

/** Whether a surrogate is half of a whole character. */
function isPair(whole, at) {
  const code = whole.charCodeAt(at);
  const beside = code < 0xdc00 ? whole.charCodeAt(at + 1) : whole.charCodeAt(at - 1);
  return code >= 0xd800 && code < 0xe000 && (code < 0xdc00 ? beside >= 0xdc00 && beside < 0xe000 : beside >= 0xd800 && beside < 0xdc00);
}

const hex = (code) => code.toString(16).padStart(4, '0');

/** A text of several lines as a literal block, where nothing about it is special; else undefined. */
function lines(value, indent) {
  const isPlain = /^[^\s#][^\r\t\0-\x08\x0b-\x1f\u007f-\u009f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]*\n[^]*\S\n?$/.test(value)
    && !/[\r\t\0-\x08\x0b-\x1f\u007f-\u009f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]| $| \n/.test(value);
  if (!isPlain) return undefined;
  const ends = value.endsWith('\n');
  const body = (ends ? value.slice(0, -1) : value).split('\n');
  return [ends ? '|' : '|-', ...body.map((line) => (line ? `${indent}  ${line}` : ''))].join('\n');
}
