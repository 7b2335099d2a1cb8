// JSON laid out in lines that still says what was written: no number is rounded, no key that stands twice is dropped.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const DEEPEST = 40; // levels that are indented: a thousand brackets are no megabyte of spaces

/** An object or a list in JSON as lines of text; null for any other text. */
export function laidOut(text) {
  const first = text.trimStart()[0];
  if ((first !== '{' && first !== '[') || !isJson(text)) return null;
  const tokens = text.match(TOKEN);
  let depth = 0;
  const line = () => `\n${'  '.repeat(Math.min(depth, DEEPEST))}`;
  return tokens.map((token, at) => {
    if (token === ':') return ': ';
    if (token === ',') return `,${line()}`;
    if (isStart(token)) {
      depth += 1;
      return isEnd(tokens[at + 1]) ? token : token + line();
    }
    if (!isEnd(token)) return token;
    depth -= 1;
    return isStart(tokens[at - 1]) ? token : line() + token;
  }).join('');
}

const isStart = (token) => token === '{' || token === '[';
const isEnd = (token) => token === '}' || token === ']';

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
