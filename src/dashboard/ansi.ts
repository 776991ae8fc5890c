// Terminal colours in the output of jobs, one line at a time: text with escape sequences becomes pieces with a
// style. What is no colour is left out, and control characters are shown as their pictures. Pure; nothing here
// makes HTML.

export interface style {
  fg?: number | string; // 0–15 by the theme, or a colour of its own as #rrggbb
  bg?: number | string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
  strike?: boolean;
  inverse?: boolean;
}

export interface piece {
  text: string;
  style: style;
}

export const plain: style = Object.freeze({});

const ESC = '\x1b';
// What may follow the escape character. A torn sequence at the end of the line is one, too.
const csi = /\[([0-9;:?<=>]*)([ -/]*)([@-~])/.source;
const torn_csi = /\[[0-9;:?<=>]*[ -/]*$/.source;
const osc = /\][^\x07\x1b]*(?:\x07|\x1b\\)?/.source;
const strings = /[PX^_][^\x1b]*(?:\x1b\\)?/.source;
const short = /[ -/]*[0-~]|$/.source;
const sequence = new RegExp(`\\x1b(?:${[csi, torn_csi, osc, strings, short].join('|')})`, 'g');

const hex = (n: number) => Math.max(0, Math.min(255, n)).toString(16).padStart(2, '0');

/// The 256-colour table: 16 of the theme, a cube of 6, and 24 greys.
function palette(n: number): number | string | undefined {
  if (!(n >= 0 && n <= 255)) return undefined;
  if (n < 16) return n;
  if (n >= 232) return '#' + hex(8 + (n - 232) * 10).repeat(3);
  const level = (i: number) => hex(i === 0 ? 0 : 55 + 40 * i);
  return '#' + level(Math.floor((n - 16) / 36)) + level(Math.floor((n - 16) / 6) % 6) + level((n - 16) % 6);
}

/// An extended colour that begins at `at`; also how many numbers it took.
function extended(numbers: number[], at: number): { colour?: number | string; used: number } {
  if (numbers[at] === 5) return { colour: palette(numbers[at + 1]), used: 2 };
  if (numbers[at] === 2 && numbers.length > at + 3) {
    return { colour: '#' + hex(numbers[at + 1]) + hex(numbers[at + 2]) + hex(numbers[at + 3]), used: 4 };
  }
  return { used: numbers.length - at };
}

function change(now: style, parameters: string): style {
  const numbers = parameters === '' ? [0] : parameters.split(/[;:]/).map(p => (p === '' ? 0 : Number(p)));
  let next: style = { ...now };
  for (let i = 0; i < numbers.length; ++i) {
    const n = numbers[i];
    if (n === 0) next = {};
    else if (n === 1) next.bold = true;
    else if (n === 2) next.dim = true;
    else if (n === 3) next.italic = true;
    else if (n === 4 || n === 21) next.underline = true;
    else if (n === 7) next.inverse = true;
    else if (n === 9) next.strike = true;
    else if (n === 22) next.bold = next.dim = undefined;
    else if (n === 23) next.italic = undefined;
    else if (n === 24) next.underline = undefined;
    else if (n === 27) next.inverse = undefined;
    else if (n === 29) next.strike = undefined;
    else if (n >= 30 && n <= 37) next.fg = n - 30;
    else if (n >= 40 && n <= 47) next.bg = n - 40;
    else if (n >= 90 && n <= 97) next.fg = n - 90 + 8;
    else if (n >= 100 && n <= 107) next.bg = n - 100 + 8;
    else if (n === 39) next.fg = undefined;
    else if (n === 49) next.bg = undefined;
    else if (n === 38 || n === 48) {
      const { colour, used } = extended(numbers, i + 1);
      if (n === 38) next.fg = colour;
      else next.bg = colour;
      i += used;
    }
  }
  return Object.values(next).some(v => v !== undefined) ? next : plain;
}

// What turns text around, has no width, or breaks lines where none ends: it could make text look like other text.
const hidden = new RegExp(
  '[\\x80-\\x9f\\xad\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f' +
    '\\u3164\\ufe00-\\ufe0e\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e0fff}]',
  'gu',
);

/// The same as escapes that are seen; for every text of other people that is shown.
export function seen(text: string): string {
  return text.replace(hidden, c => {
    const code = c.codePointAt(0)!.toString(16);
    return code.length > 4 ? `\\u{${code}}` : '\\u' + code.padStart(4, '0');
  });
}

/// Control characters as their pictures, so that nothing is invisible; a tab stays one.
function visible(text: string): string {
  if (/^[\t\x20-\x7e]*$/.test(text)) return text;
  const pictures = text.replace(/[\x00-\x08\x0a-\x1f\x7f]/g, c =>
    String.fromCharCode(c === '\x7f' ? 0x2421 : 0x2400 + c.charCodeAt(0)),
  );
  return seen(pictures);
}

/// One line, beginning in the style that the line before ended in; also the style it ends in.
export function render(line: string, begin: style): { pieces: piece[]; end: style } {
  const pieces: piece[] = [];
  let now = begin;
  let from = 0;
  const take = (to: number) => {
    if (to > from) pieces.push({ text: visible(line.slice(from, to)), style: now });
  };
  if (line.includes(ESC)) {
    for (const found of line.matchAll(sequence)) {
      take(found.index!);
      from = found.index! + found[0].length;
      if (found[3] === 'm' && found[2] === '' && /^[0-9;:]*$/.test(found[1])) now = change(now, found[1]);
    }
  }
  take(line.length);
  return { pieces, end: now };
}

/// The line as it can be searched and copied.
export function strip(line: string): string {
  return visible(line.includes(ESC) ? line.replace(sequence, '') : line);
}

export interface shown extends piece {
  hit?: boolean;
}

/// As many characters as a browser draws at once, in as many pieces.
const MOST_CHARACTERS = 20_000;
const MOST_PIECES = 2_000;

/// The pieces with what a search found marked, whatever its case; in very many places only the first are.
export function mark(pieces: piece[], wanted: string): shown[] {
  if (wanted === '') return pieces;
  const text = pieces
    .map(p => p.text)
    .join('')
    .toLowerCase();
  const needle = wanted.toLowerCase();
  const out: shown[] = [];
  let at = 0;
  let hit = text.indexOf(needle);
  for (const p of pieces) {
    let from = 0;
    while (from < p.text.length) {
      if (out.length >= MOST_PIECES) hit = -1;
      if (hit >= 0 && at + from >= hit + needle.length) {
        hit = text.indexOf(needle, hit + needle.length);
        continue;
      }
      const inside = hit >= 0 && at + from >= hit;
      const border = hit < 0 ? p.text.length : (inside ? hit + needle.length : hit) - at;
      const to = Math.min(p.text.length, border);
      out.push({ text: p.text.slice(from, to), style: p.style, hit: inside });
      from = to;
    }
    at += p.text.length;
  }
  return out;
}

/// The characters from `from` to `to` of them all.
export function slice(pieces: shown[], from: number, to: number): shown[] {
  const out: shown[] = [];
  let at = 0;
  for (const p of pieces) {
    if (at >= to) break;
    const text = at + p.text.length <= from ? '' : p.text.slice(Math.max(0, from - at), to - at);
    if (text !== '') out.push({ ...p, text });
    at += p.text.length;
  }
  return out;
}

/// The same, marked; only around what is shown is looked for more of what a search found.
export function marked(pieces: piece[], wanted: string, from: number, to: number): shown[] {
  const before = Math.min(from, Math.max(0, wanted.length - 1));
  const around = slice(pieces, from - before, to + Math.max(0, wanted.length - 1));
  return slice(mark(around, wanted), before, before + to - from);
}

/// Where drawing ends, and how many characters come behind it.
export function bounded(pieces: piece[]): { to: number; more: number } {
  const length = (of: piece[]) => of.reduce((sum, p) => sum + p.text.length, 0);
  const to = Math.min(MOST_CHARACTERS, length(pieces.slice(0, MOST_PIECES)));
  return { to, more: length(pieces) - to };
}
