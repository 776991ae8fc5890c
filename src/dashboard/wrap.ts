// How wide text is in a font of one width, and where a long line breaks. Pure.

const TAB = 8; // columns, as browsers have it

// Pictures and scripts whose characters take two columns; marks take none, since they stand on others.
const wide = /[\u1100-\u115f\ufe30-\ufe6f\uffe0-\uffe6\u{16fe0}-\u{1b2ff}\u{1f000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const mark = /\p{M}/u;

function width_of(character: string): number {
  const code = character.codePointAt(0)!;
  if (code < 0x300) return 1;
  const is_east = (code >= 0x2e80 && code <= 0xa4cf) || (code >= 0xac00 && code <= 0xd7a3);
  if (is_east || (code >= 0xf900 && code <= 0xfaff) || (code >= 0xff01 && code <= 0xff60)) return 2;
  return wide.test(character) ? 2 : mark.test(character) ? 0 : 1;
}

/// Where the rows of a line begin that is cut so that none is wider than this.
export function breaks(text: string, columns: number): number[] {
  const starts = [0];
  if (/^[\x20-\x7e]*$/.test(text)) {
    for (let at = columns; at < text.length; at += columns) starts.push(at);
    return starts;
  }
  if (text.length * TAB <= columns) return starts;
  let column = 0;
  let at = 0;
  for (const c of text) {
    const width = c === '\t' ? TAB - (column % TAB) : width_of(c);
    if (column + width > columns && column > 0) {
      starts.push(at);
      column = c === '\t' ? Math.min(TAB, columns) : width;
    } else {
      column += width;
    }
    at += c.length;
  }
  return starts;
}
