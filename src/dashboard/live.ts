// How news arrive, and nobody else knows: one stream of the coordinator's events per visible tab, which says what
// changed; what is on the screen and is concerned by it is asked for again. The stream goes on where it was cut.
import { computed, effect, signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, clock_ahead, open, problem, token_wanted } from './api';
import type { event, server_status } from './api';
import { quarter } from './time';

const QUIET_LIMIT = 40_000; // the coordinator says something every 15 s
const PAUSE_MIN = 300;
const PAUSE_MAX = 5_000;
const GATHER = 40; // news of one moment lead to one question
const RELOAD_GAP = 500; // and a busy coordinator is asked no more often than this
const RESUME_LIMIT = 60_000; // after a longer absence everything is asked for anew, and old events are no news
const POLL = 10_000; // for what has no events: heartbeats

export interface connection {
  state: 'connecting' | 'live' | 'lost';
  /// When something was last heard.
  heard: number;
}

export const connection = signal<connection>({ state: 'connecting', heard: Date.now() });

/// The coordinator's time, once a second.
export const now = signal(Date.now());
setInterval(() => {
  now.value = Date.now() + clock_ahead.peek();
}, 1000);
effect(() => {
  now.value = Date.now() + clock_ahead.value;
});
/// The same in steps, for what need not be drawn again every second.
export const this_quarter = computed(() => quarter(now.value));

// ---- who wants to know

type listener = (e: event) => void;
const listeners = new Set<listener>();
const reloads = new Set<{ topics: string[]; reload: () => void }>();

/// Every event from now on, until the returned function is called.
export function on_event(f: listener): () => void {
  listeners.add(f);
  return () => listeners.delete(f);
}

/// "run/ID" concerns the topics `runs` and `run/ID`.
function tell(e: event): void {
  for (const f of listeners) f(e);
  const kind = e.subject.split('/', 1)[0] + 's';
  for (const r of reloads) {
    if (r.topics.includes(kind) || r.topics.includes(e.subject)) r.reload();
  }
}

function tell_all(): void {
  for (const r of reloads) r.reload();
}

// ---- the stream

let last_event = '';
let running: AbortController | null = null;

function heard(): void {
  const was = connection.peek();
  if (was.state !== 'live' || Date.now() - was.heard > 1000) connection.value = { state: 'live', heard: Date.now() };
}

function take(block: string): void {
  let data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('id: ')) last_event = line.slice(4);
    if (line.startsWith('data: ')) data += line.slice(6);
  }
  if (data !== '') tell(JSON.parse(data));
}

let cluster = '';

/// Where the stream can go on: nowhere after a long absence, or when another coordinator answers now.
async function check_resume(stop: AbortSignal): Promise<void> {
  const status = await call<server_status>('/status', { signal: stop });
  if (status.cluster !== cluster || Date.now() - connection.peek().heard > RESUME_LIMIT) last_event = '';
  cluster = status.cluster;
}

async function follow(stop: AbortController): Promise<void> {
  await check_resume(stop.signal);
  const headers: Record<string, string> = { Accept: 'text/event-stream' };
  if (last_event !== '') headers['Last-Event-ID'] = last_event;
  const answer = await open('/api/v1/events', { headers, signal: stop.signal });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let quiet = setTimeout(() => stop.abort(), QUIET_LIMIT);
  let text = '';
  heard();
  tell_all(); // whatever happened before the stream began
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(quiet);
      quiet = setTimeout(() => stop.abort(), QUIET_LIMIT);
      heard();
      text += value;
      const blocks = text.split('\n\n');
      text = blocks.pop()!;
      blocks.forEach(take);
    }
  } finally {
    clearTimeout(quiet);
  }
}

const wait = (ms: number) => new Promise(done => setTimeout(done, ms));

async function keep_following(stop: () => boolean): Promise<void> {
  let pause = PAUSE_MIN;
  while (!stop()) {
    running = new AbortController();
    try {
      await follow(running);
      pause = PAUSE_MIN;
    } catch {
      // The banner says so, or the login, after which start_live begins again.
    }
    if (stop() || token_wanted.peek() !== null) return;
    if (connection.peek().state !== 'lost') connection.value = { ...connection.peek(), state: 'lost' };
    await wait(pause);
    pause = Math.min(PAUSE_MAX, pause * 2);
  }
}

/// Begins once; a browser allows few connections to one host, so tabs that nobody sees hold none.
export function start_live(): void {
  let generation = 0;
  const begin = () => {
    const mine = ++generation;
    running?.abort();
    if (token_wanted.peek() === null && !document.hidden) void keep_following(() => mine !== generation);
  };
  document.addEventListener('visibilitychange', begin);
  effect(() => {
    token_wanted.value;
    begin();
  });
}

// ---- what pages use

export interface resource<T> {
  data: T | undefined;
  error: problem | undefined;
  reload: () => void;
}

/// Nobody answered, or nobody could: what was known is still what is known.
const is_passing = (e: problem) => e.status === 0 || e.status >= 500;

/// What `load` gives, asked for again when one of the topics has news. `key` says what is loaded: with another key
/// it is another thing, and what was there is forgotten. With `poll` it is asked for regularly, too.
export function use_resource<T>(
  key: string,
  topics: string[],
  load: (signal: AbortSignal) => Promise<T>,
  poll = false,
): resource<T> {
  const [state, set_state] = useState<{ key: string; data?: T; error?: problem }>({ key });
  const latest = useRef(load);
  latest.current = load;
  const reload = useRef(() => {});
  useEffect(() => {
    let timer = 0;
    let busy = false;
    let again = false;
    let ended = 0;
    const stop = new AbortController();
    const go = async () => {
      timer = 0;
      busy = true;
      again = false;
      try {
        const data = await latest.current(stop.signal);
        if (!stop.signal.aborted) set_state({ key, data });
      } catch (e) {
        if (stop.signal.aborted) return;
        const error = e instanceof problem ? e : new problem(0, String(e));
        if (error.status === 401) return; // the login is above the page, and after it this is asked for again
        // Old data with its age is worth more than an empty page.
        set_state(was => ({ key, data: was.key === key && is_passing(error) ? was.data : undefined, error }));
      } finally {
        busy = false;
        ended = Date.now();
        if (again && !stop.signal.aborted) ask();
      }
    };
    const ask = () => {
      if (busy) again = true;
      else if (timer === 0) timer = window.setTimeout(go, Math.max(GATHER, ended + RELOAD_GAP - Date.now()));
    };
    reload.current = ask;
    const entry = { topics, reload: ask };
    reloads.add(entry);
    const polling = poll ? window.setInterval(() => !document.hidden && ask(), POLL) : 0;
    void go();
    return () => {
      stop.abort();
      clearTimeout(timer);
      clearInterval(polling);
      reloads.delete(entry);
    };
  }, [key]);
  const fits = state.key === key;
  return { data: fits ? state.data : undefined, error: fits ? state.error : undefined, reload: reload.current };
}

// ---- the output of an attempt

export interface log_piece {
  attempt: number;
  stream: 'stdout' | 'stderr';
  offset: number;
  data?: string | Uint8Array; // bytes when they are no text as they stand
  encoding?: string;
  gap?: { from: number; to: number };
}

const from_base64 = (text: string) => Uint8Array.from(atob(text), c => c.charCodeAt(0));

/// Until the tab is seen and has a token, or nobody waits any more.
function may_ask(stop: AbortSignal): Promise<void> {
  return new Promise(done => {
    const look = () => {
      if (!stop.aborted && (document.hidden || token_wanted.peek() !== null)) return;
      document.removeEventListener('visibilitychange', look);
      stop.removeEventListener('abort', look);
      forget();
      done();
    };
    let forget = () => {};
    document.addEventListener('visibilitychange', look);
    stop.addEventListener('abort', look);
    forget = token_wanted.subscribe(() => queueMicrotask(look));
  });
}

/// Hands over all there is and all that comes, until the attempt is over or the returned function is called. After
/// a cut it begins anew: pieces come again, with the same offsets. A tab that nobody sees reads nothing. `ended` is
/// called once, with why it ended early if it did.
export function follow_output(
  id: string,
  attempt: number,
  take: (p: log_piece) => void,
  ended: (error?: problem) => void,
): () => void {
  const stop = new AbortController();
  const read = async (signal: AbortSignal) => {
    const answer = await open(`/api/v1/runs/${encodeURIComponent(id)}/logs?attempt=${attempt}&follow=1`, {
      headers: { Accept: 'application/x-ndjson' },
      signal,
    });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return false;
      const parts = (text + value).split('\n');
      text = parts.pop()!;
      for (const part of parts) {
        const piece = JSON.parse(part);
        if (piece.end) return true;
        if (piece.encoding === 'base64') piece.data = from_base64(piece.data);
        take(piece);
      }
    }
  };
  const keep_reading = async () => {
    let pause = PAUSE_MIN;
    for (;;) {
      await may_ask(stop.signal);
      if (stop.signal.aborted) return;
      reading = new AbortController();
      try {
        if (await read(reading.signal)) return ended();
        pause = PAUSE_MIN;
      } catch (e) {
        if (e instanceof problem && e.status >= 400 && e.status < 500 && e.status !== 401) return ended(e);
      }
      if (reading.signal.aborted) continue; // it goes on when the tab is seen again
      await wait(pause);
      pause = Math.min(PAUSE_MAX, pause * 2);
    }
  };
  let reading = new AbortController();
  const hidden = () => document.hidden && reading.abort();
  document.addEventListener('visibilitychange', hidden);
  void keep_reading();
  return () => {
    document.removeEventListener('visibilitychange', hidden);
    stop.abort();
    reading.abort();
  };
}
