// Which rows of a long list are on the screen. All rows have one height. Browsers cannot make an element of any
// height, so above a bound the scroll bar is a scale: its place says which row is first. Pure.

const HIGHEST = 8_000_000; // pixels; every browser can lay out twice that

export interface view {
  /// Height of what is scrolled.
  height: number;
  first: number;
  /// One behind the last row that is drawn.
  last: number;
  /// Where the first row is drawn, from the top of what is scrolled.
  top: number;
}

const total = (count: number, row: number) => Math.min(count * row, HIGHEST);

export function window_of(scroll: number, port: number, count: number, row: number, extra = 8): view {
  const height = total(count, row);
  if (count * row <= HIGHEST) {
    const first = Math.max(0, Math.min(Math.floor(scroll / row) - extra, count));
    const last = Math.min(count, Math.ceil((scroll + port) / row) + extra);
    return { height, first, last: Math.max(first, last), top: first * row };
  }
  const shown = Math.ceil(port / row);
  const share = Math.min(1, Math.max(0, scroll / (height - port)));
  const exact = share * (count - port / row);
  const first = Math.max(0, Math.floor(exact) - extra);
  const last = Math.min(count, Math.floor(exact) + shown + 1 + extra);
  return { height, first, last, top: scroll + (first - exact) * row };
}

/// The scroll place that shows this row in the middle.
export function scroll_to(index: number, port: number, count: number, row: number): number {
  const height = total(count, row);
  const wanted = index * row - (port - row) / 2;
  if (count * row <= HIGHEST) return Math.max(0, Math.min(wanted, Math.max(0, height - port)));
  const share = (index - (port / row - 1) / 2) / (count - port / row);
  return Math.max(0, Math.min(1, share)) * (height - port);
}

/// Where each line of a wrapped text begins, in rows. Lines are only added, and only the last ones still grow.
export class wrap_index {
  private starts: number[] = [];
  private ends = 0;

  /// Counts anew from line `from` on.
  update(count: number, from: number, rows_of: (line: number) => number): void {
    const at = Math.min(from, this.starts.length);
    let row = at === 0 ? 0 : at < this.starts.length ? this.starts[at] : this.ends;
    this.starts.length = at;
    for (let i = at; i < count; ++i) {
      this.starts.push(row);
      row += Math.max(1, rows_of(i));
    }
    this.ends = row;
  }

  get rows(): number {
    return this.ends;
  }

  row_of(line: number): number {
    return this.starts[line] ?? this.ends;
  }

  /// The line that this row belongs to, and which of its rows it is.
  line_at(row: number): { line: number; part: number } {
    let low = 0;
    let high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= row) low = middle;
      else high = middle - 1;
    }
    return { line: low, part: row - (this.starts[low] ?? 0) };
  }
}
