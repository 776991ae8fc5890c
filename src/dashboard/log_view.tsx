// The output of an attempt, a million lines if need be: only what is on the screen is drawn. Text is set as text,
// never as HTML, so nothing that a job writes can do anything here.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { bounded, marked, render, strip } from './ansi';
import type { piece, shown, style } from './ansi';
import { open } from './api';
import type { attempt, problem } from './api';
import { log_lines, search } from './lines';
import type { log_line, stream } from './lines';
import { follow_output } from './live';
import { place } from './router';
import { bytes } from './time';
import { Action, value_of } from './ui';
import { scroll_to, window_of, wrap_index } from './virtual';
import { breaks } from './wrap';

const ROW = 19; // pixels, as .log .row has it
const GUTTER = 66; // width of the line numbers, and of the space beside the text
const is_live = (state: string) => ['offered', 'accepted', 'running'].includes(state);

const colour = (c: number | string | undefined) => (typeof c === 'number' ? `var(--ansi-${c})` : c);

function css(s: style): Record<string, string> | undefined {
  const fg = s.inverse ? (colour(s.bg) ?? 'var(--log-bg)') : colour(s.fg);
  const bg = s.inverse ? (colour(s.fg) ?? 'var(--log-fg)') : colour(s.bg);
  const out: Record<string, string> = {};
  if (fg) out.color = fg;
  if (bg) out.backgroundColor = bg;
  if (s.bold) out.fontWeight = '700';
  if (s.dim) out.opacity = '0.75';
  if (s.italic) out.fontStyle = 'italic';
  if (s.underline || s.strike) {
    out.textDecoration = [s.underline && 'underline', s.strike && 'line-through'].filter(Boolean).join(' ');
  }
  return out;
}

function Pieces({ of }: { of: shown[] }) {
  return (
    <>
      {of.map((p, i) =>
        p.hit ? (
          <mark key={i} style={css(p.style)}>
            {p.text}
          </mark>
        ) : (
          <span key={i} style={css(p.style)}>
            {p.text}
          </span>
        ),
      )}
    </>
  );
}

/// A line that is drawn row by row, which is made once for as long as it stays on the screen.
interface rendered {
  text: string;
  columns: number;
  pieces: piece[];
  /// Where its rows begin, with one more where the last ends.
  rows: number[];
  more: number;
}

function rendered_of(l: log_line, columns: number): rendered {
  const { pieces } = render(l.text, l.begin);
  const { to, more } = bounded(pieces);
  const all = pieces.map(p => p.text).join('');
  const rows = columns > 0 ? [...breaks(all, columns), all.length] : [0, to];
  return { text: l.text, columns, pieces, rows, more: columns > 0 ? 0 : more };
}

/// The address of a line: #L12 of stdout, #E3 of stderr.
const anchor = (l: log_line) => (l.stream === 'stdout' ? 'L' : 'E') + l.number;

const is_line = (hash: string) => /^#[LE]\d+$/.test(hash);

/// What is read of one attempt, with a count that rises at most once a frame when something came.
function use_output(id: string, number: number | null) {
  const [version, set_version] = useState(0);
  const [end, set_end] = useState<{ over: boolean; error?: problem }>({ over: false });
  const lines = useMemo(() => new log_lines(), [id, number]);
  useEffect(() => {
    if (number === null) return;
    set_end({ over: false });
    let frame = 0;
    const changed = () => {
      if (frame === 0) {
        frame = requestAnimationFrame(() => {
          frame = 0;
          set_version(v => v + 1);
        });
      }
    };
    const stop = follow_output(
      id,
      number,
      p => {
        if (p.gap) lines.gap(p.stream, p.gap.from, p.gap.to);
        else lines.add(p.stream, p.offset, p.data ?? '');
        changed();
      },
      error => {
        lines.over();
        changed();
        set_end({ over: true, error });
      },
    );
    return () => {
      stop();
      cancelAnimationFrame(frame);
    };
  }, [id, number]);
  return { lines, version, ...end };
}

/// The lines of the wanted streams; kept up to date by what was added.
function use_filtered(lines: log_lines, only: stream | 'both', version: number): readonly log_line[] {
  const kept = useRef<{ lines: log_lines; only: string; done: number; out: log_line[] } | null>(null);
  return useMemo(() => {
    if (only === 'both') return lines.lines;
    let k = kept.current;
    if (!k || k.lines !== lines || k.only !== only) k = kept.current = { lines, only, done: 0, out: [] };
    for (; k.done < lines.lines.length; ++k.done) {
      if (lines.lines[k.done].stream === only) k.out.push(lines.lines[k.done]);
    }
    return k.out;
  }, [lines, only, version]);
}

async function download(id: string, number: number, only: string): Promise<void> {
  const part = only === 'both' ? '' : `&stream=${only}`;
  const answer = await open(`/api/v1/runs/${encodeURIComponent(id)}/logs?attempt=${number}${part}`, {
    headers: { Accept: 'text/plain' },
  });
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${id}-${number}${only === 'both' ? '' : '-' + only}.log`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function LogView({ id, attempts }: { id: string; attempts: attempt[] }) {
  const [chosen, set_chosen] = useState<number | null>(null); // null: the newest
  const [only, set_only] = useState<stream | 'both'>('both');
  const [wrapped, set_wrapped] = useState(innerWidth < 720);
  const [wanted, set_wanted] = useState('');
  const [hit, set_hit] = useState(-1);
  const [scroll, set_scroll] = useState(0);
  const [port, set_port] = useState({ width: 800, height: 400 });
  const [following, set_following] = useState(!is_line(place.value.hash));
  const box = useRef<HTMLDivElement>(null);
  const ruler = useRef<HTMLSpanElement>(null);
  const field = useRef<HTMLInputElement>(null);
  const last_top = useRef(0);
  const cache = useRef(new Map<log_line, rendered>());

  const newest = attempts.length > 0 ? attempts[attempts.length - 1].number : null;
  const number = chosen ?? newest;
  const shown_attempt = attempts.find(a => a.number === number);
  const live = !!shown_attempt && is_live(shown_attempt.state);
  const { lines, version, over, error } = use_output(id, number);
  const visible = use_filtered(lines, only, version);

  // ---- wrapped lines are several rows
  const columns = Math.max(
    10,
    Math.floor(((port.width - GUTTER - 12) / (ruler.current?.getBoundingClientRect().width || 780)) * 100),
  );
  const index = useMemo(() => new wrap_index(), [lines, only, wrapped, columns]);
  const counted = useRef<{ index: wrap_index | null; settled: number }>({ index: null, settled: 0 });
  if (wrapped) {
    const from = counted.current.index === index ? counted.current.settled : 0;
    index.update(visible.length, from, i => breaks(strip(visible[i].text), columns).length);
    // With one stream only, indexes are others; then the last lines are counted again.
    counted.current = { index, settled: Math.max(0, only === 'both' ? lines.settled : visible.length - 2) };
  }
  const rows = wrapped ? index.rows : visible.length;
  const row_of = (line: number) => (wrapped ? index.row_of(line) : line);
  const view = window_of(scroll, port.height, rows, ROW);

  // ---- search
  const results = useRef<{ key: unknown[]; found: number[]; done: number }>({ key: [], found: [], done: 0 });
  const found = useMemo(() => {
    const key = [lines, only, wanted];
    let r = results.current;
    if (key.some((k, i) => k !== r.key[i])) r = results.current = { key, found: [], done: 0 };
    if (wanted !== '') search(r.found, wanted, visible, r.done);
    r.done = Math.max(0, visible.length - (over ? 0 : 2));
    r.found = [...new Set(r.found)];
    return r.found;
  }, [lines, only, wanted, version, over]);

  const show_line = (line: number) => {
    set_following(false);
    if (box.current) box.current.scrollTop = scroll_to(row_of(line), port.height, rows, ROW);
  };
  const step = (by: number) => {
    if (found.length === 0) return;
    const next = hit < 0 ? (by > 0 ? 0 : found.length - 1) : (hit + by + found.length) % found.length;
    set_hit(next);
    show_line(found[next]);
  };
  const to_end = () => {
    set_following(true);
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  };

  // ---- size and place
  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => {
      if (box.current) set_port({ width: box.current.clientWidth, height: box.current.clientHeight });
    });
    seen.observe(box.current!);
    return () => seen.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (following && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [following, rows, port.height]);
  const hash = place.value.hash;
  const target = is_line(hash) ? hash.slice(1) : '';
  const went = useRef('');
  useEffect(() => {
    if (target === '' || went.current === target) return;
    const at = visible.findIndex(l => anchor(l) === target);
    if (at < 0 || row_of(at) >= rows) return; // not there yet, or came after this was drawn
    went.current = target;
    show_line(at);
  }, [target, version]);
  const scrolled = () => {
    const el = box.current!;
    // Only people scroll up; what we do ourselves goes to the end.
    if (el.scrollTop < last_top.current - 1) set_following(false);
    else if (el.scrollTop + el.clientHeight >= el.scrollHeight - ROW && live) set_following(true);
    last_top.current = el.scrollTop;
    set_scroll(el.scrollTop);
  };
  const keys = (e: KeyboardEvent) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === 'n') step(1);
    else if (e.key === 'N') step(-1);
    else if (e.key === 'f') following ? set_following(false) : to_end();
    else if (e.key === 'w') set_wrapped(!wrapped);
    else if (e.key === '/') field.current?.focus();
    else return;
    e.preventDefault();
    e.stopPropagation();
  };

  const drawn = [];
  const before = cache.current;
  cache.current = new Map();
  for (let row = view.first; row < view.last; ++row) {
    const { line, part } = wrapped ? index.line_at(row) : { line: row, part: 0 };
    const l = visible[line];
    if (!l) break;
    const width = wrapped ? columns : 0;
    let made = cache.current.get(l) ?? before.get(l);
    if (!made || made.text !== l.text || made.columns !== width) made = rendered_of(l, width);
    cache.current.set(l, made);
    const pieces = marked(made.pieces, wanted, made.rows[part], made.rows[part + 1] ?? made.rows[part]);
    const name = anchor(l);
    const marks =
      `${l.stream === 'stderr' ? ' err' : ''}${name === target && l.gap === undefined ? ' target' : ''}` +
      `${hit >= 0 && found[hit] === line ? ' current' : ''}`;
    drawn.push(
      l.gap !== undefined ? (
        <div class="row gap" key={row}>
          ⋯ {bytes(l.gap)} of {l.stream} were not kept ⋯
        </div>
      ) : (
        <div class={`row${marks}`} key={row}>
          <a class="line" href={`#${name}`} tabIndex={-1}>
            {part === 0 ? (l.stream === 'stderr' ? 'E' : '') + l.number : ''}
          </a>
          <code>
            <Pieces of={pieces} />
          </code>
          {made.more > 0 && (
            <span class="cut">
              … {made.more.toLocaleString('en')} more characters (Wrap or Download shows them)
            </span>
          )}
        </div>
      ),
    );
  }

  return (
    <div class="output">
      <div class="bar">
        {attempts.length > 1 && (
          <select
            aria-label="Attempt"
            value={String(number ?? '')}
            onChange={e => {
              const n = Number(value_of(e));
              set_chosen(n === newest ? null : n);
              set_hit(-1);
            }}>
            {attempts.map(a => (
              <option value={String(a.number)} key={a.number}>
                Attempt {a.number}
              </option>
            ))}
          </select>
        )}
        <select
          aria-label="Stream"
          value={only}
          onChange={e => {
            set_only(value_of(e) as stream);
            set_hit(-1);
          }}>
          <option value="both">stdout and stderr</option>
          <option value="stdout">stdout</option>
          <option value="stderr">stderr</option>
        </select>
        <span class="search">
          <input
            ref={field}
            type="search"
            placeholder="Search output"
            aria-label="Search output"
            value={wanted}
            onInput={e => {
              set_wanted(value_of(e));
              set_hit(-1);
            }}
            onKeyDown={e => {
              if (e.key === 'Enter') step(e.shiftKey ? -1 : 1);
              if (e.key === 'Escape') box.current?.focus();
            }}
          />
          <span class="num" role="status" aria-label="Matching lines">
            {wanted === '' ? '' : found.length === 0 ? 'none' : `${hit < 0 ? '–' : hit + 1}/${found.length}`}
          </span>
          <button
            type="button"
            class="small"
            disabled={found.length === 0}
            onClick={() => step(-1)}
            aria-label="Previous match">
            ↑
          </button>
          <button
            type="button"
            class="small"
            disabled={found.length === 0}
            onClick={() => step(1)}
            aria-label="Next match">
            ↓
          </button>
        </span>
        <span class="spring" />
        <button type="button" class="small" aria-pressed={wrapped} onClick={() => set_wrapped(!wrapped)}>
          Wrap
        </button>
        <button
          type="button"
          class="small"
          aria-pressed={following}
          onClick={() => (following ? set_following(false) : to_end())}>
          Follow
        </button>
        {number !== null && (
          <Action kind="small" run={() => download(id, number, only)}>
            Download
          </Action>
        )}
      </div>
      <div
        class="log"
        ref={box}
        tabIndex={0}
        role="region"
        aria-label="Output lines"
        onScroll={scrolled}
        onKeyDown={keys}
        data-lines={visible.length}>
        <span class="ruler" ref={ruler} aria-hidden="true">
          {'0'.repeat(100)}
        </span>
        <div class="all" style={{ height: `${view.height}px` }}>
          <div class="part-shown" style={{ transform: `translateY(${view.top}px)` }}>
            {drawn}
          </div>
        </div>
        {visible.length === 0 && (
          <p class="nothing">
            {error
              ? error.detail
              : number === null
                ? 'No attempt has started yet.'
                : over
                  ? 'It wrote nothing.'
                  : 'Waiting for output…'}
          </p>
        )}
      </div>
      <p class="under faint">
        <span class="num">{visible.length.toLocaleString('en')} lines</span>
        {live && <span> · {following ? 'following' : 'not following'}</span>}
        <span>
          {' '}
          · keys here: <kbd>/</kbd> search, <kbd>n</kbd> <kbd>N</kbd> matches, <kbd>f</kbd> follow, <kbd>w</kbd> wrap
        </span>
      </p>
    </div>
  );
}
