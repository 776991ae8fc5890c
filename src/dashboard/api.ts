// Calls of the coordinator's HTTP API: the token, problems as exceptions, and the shapes of what comes back. Every
// page uses it.
import { signal } from '@preact/signals';
import { refused_token, token_of } from './token';

export interface attempt {
  number: number;
  lease: number;
  worker_id: string;
  state: string;
  reason: string | null;
  exit_code: number | null;
  signal: number | null;
  offered_at: string;
  started_at: string | null;
  finished_at: string | null;
  duration_seconds: number | null;
  max_rss_bytes: number | null;
  cpu_seconds: number | null;
  output_bytes: Record<string, number>;
  late: boolean;
  error: string | null;
  superseded_status: string | null;
}
export interface run {
  id: string;
  job: string;
  job_version: number | null;
  state: string;
  reason: string | null;
  args: string | null;
  priority: number | null;
  queue: string | null;
  tags: Record<string, string>;
  spec: Record<string, any> | null;
  submitted_at: string;
  instant: string | null;
  not_before: string | null;
  started_at: string | null;
  finished_at: string | null;
  duration_seconds: number | null;
  cancel_requested: boolean;
  held: boolean;
  retry_of: string | null;
  after: { run: string; on: string }[];
  attempts: attempt[];
}
export interface job {
  name: string;
  version: number;
  description: string;
  paused: boolean;
  schedule_paused: boolean;
  created_at: string;
  updated_at: string;
  definition: Record<string, any>;
  schedule: { text: string; time_zone: string; cursor: string | null } | null;
}
export interface worker {
  worker_id: string;
  state: string;
  connected: boolean;
  status: string | null;
  hostname: string | null;
  platform: string | null;
  version: string | null;
  legacy: boolean;
  slots: number;
  running: number;
  waiting: number;
  labels: Record<string, string>;
  resources: Record<string, number | string>;
  draining: boolean;
  registered_at: string | null;
  last_seen: string | null;
  jobs_processed: number;
  uptime_seconds: number;
  load: number;
  memory_bytes: number;
}
export interface instant {
  instant: string;
  utc: string;
  note: string | null;
  starts?: string;
}
export interface schedule {
  job: string;
  text: string;
  time_zone: string;
  paused: boolean;
  next: instant[];
}
export interface ledger_row {
  instant: string;
  until: string;
  count: number;
  outcome: string;
  run: string | null;
  rule: string;
}
export interface queue {
  name: string;
  paused: boolean;
  concurrency: number | null;
  rate: string | null;
  priority: number;
  waiting: number;
  running: number;
}
export interface event {
  sequence: number;
  type: string;
  subject: string;
  at: string;
  data: Record<string, any> | string;
}
export interface reason {
  code: string;
  detail: string;
  remedy: string;
  holders: string[];
  forecast: string;
  until: string | null;
}
export interface server_status {
  version: string;
  cluster: string;
  term: number;
  disk: string;
  started_at: string;
  runs: Record<string, number>;
  workers: Record<string, number>;
}
export interface page<T> {
  items: T[];
  next_cursor: string | null;
}

/// An answer that is none of what was asked for. `status` is 0 when no answer came.
export class problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly hint = '',
    readonly errors: { pointer: string; detail: string }[] = [],
  ) {
    super(detail);
  }
}

// ---- the token

const token_key = 'orchestrator.token';
const ASK_LIMIT = 150; // milliseconds until a tab that has no token asks the person instead of the other tabs

/// Set when the coordinator wants a token that it was not given, with what it said about the last one.
export const token_wanted = signal<string | null>(null);

let token = '';

/// The tabs of one coordinator share the token, so that a link opened in a new tab needs no second login, and nothing
/// has to be written to the disk for it. Only pages of this origin hear it.
type told = { ask: true } | { token: string } | { leave: true };
const tabs = new BroadcastChannel('orchestrator.token');
const tell_tabs = (what: told) => tabs.postMessage(what);

function keep_token(given: string): void {
  token = given;
  sessionStorage.setItem(token_key, token);
  token_wanted.value = null;
}

function drop_token(): void {
  token = '';
  sessionStorage.removeItem(token_key);
  localStorage.removeItem(token_key);
  token_wanted.value = '';
}

/// An address may bring the token behind its #, where no server sees it; it is taken out of the address bar at once,
/// whatever it is. False if there was none.
export function take_address(): boolean {
  const given = token_of(location.hash);
  if (given === undefined) return false;
  history.replaceState(null, '', location.pathname + location.search);
  const refused = refused_token(given);
  if (refused !== '') token_wanted.value = refused;
  else {
    keep_token(given);
    tell_tabs({ token: given });
  }
  return true;
}

/// The token of the address, of this tab, of this browser, or of another tab, in this order.
export async function find_token(): Promise<void> {
  const asked = new Promise<void>(done => {
    tabs.onmessage = e => {
      const said = e.data as told;
      if ('ask' in said) {
        if (token !== '' && token_wanted.peek() === null) tell_tabs({ token });
      } else if ('leave' in said) {
        drop_token();
      } else if (token === '' || token_wanted.peek() !== null) {
        keep_token(said.token);
        done();
      }
    };
    setTimeout(done, ASK_LIMIT);
  });
  if (take_address()) return;
  const kept = sessionStorage.getItem(token_key) ?? localStorage.getItem(token_key) ?? '';
  if (refused_token(kept) === '') {
    token = kept;
    return;
  }
  tell_tabs({ ask: true });
  await asked;
}

/// Why it is not taken; empty if it is.
export function use_token(given: string, remember: boolean): string {
  const refused = refused_token(given.trim());
  if (refused !== '') return refused;
  if (remember) localStorage.setItem(token_key, given.trim());
  else localStorage.removeItem(token_key);
  keep_token(given.trim());
  tell_tabs({ token });
  return '';
}

/// For every tab: another one would give it back otherwise.
export function forget_token(): void {
  drop_token();
  tell_tabs({ leave: true });
}

export function has_token(): boolean {
  return token !== '';
}

// ---- calls

/// How far the coordinator's clock is ahead of the browser's, in milliseconds; ages are told by the coordinator's.
export const clock_ahead = signal(0);

function note_clock(answer: Response): void {
  const date = Date.parse(answer.headers.get('Date') ?? '');
  if (Number.isNaN(date)) return;
  const ahead = date + 500 - Date.now(); // the header has whole seconds
  clock_ahead.value = Math.abs(ahead) < 2000 ? 0 : ahead;
}

export interface request {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

const STATUS = '/api/v1/status';

/// The answer as it comes, for streams; problems are thrown.
export async function open(path: string, what: request = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json', ...what.headers };
  const used = token;
  if (used !== '') headers.Authorization = `Bearer ${used}`;
  let body: string | undefined;
  if (what.method === 'POST' || what.method === 'PUT') {
    // Without a body, too: the coordinator takes no change that a foreign page's form could send.
    headers['Content-Type'] = 'application/json';
    body = what.body === undefined ? '' : JSON.stringify(what.body);
  }
  let answer: Response;
  try {
    answer = await fetch(path, {
      method: what.method ?? 'GET',
      headers,
      body,
      signal: what.signal,
      cache: 'no-store',
      credentials: 'omit',
    });
  } catch (e) {
    if (what.signal?.aborted) throw e;
    throw new problem(0, 'the coordinator cannot be reached');
  }
  note_clock(answer);
  if (answer.ok) return answer;
  const text = await answer.text().catch(() => '');
  if (what.signal?.aborted) throw new problem(0, 'nobody waits for the answer any more');
  let said: any = {};
  try {
    said = JSON.parse(text);
  } catch {
    // Something between us and the coordinator answered.
  }
  const failed = new problem(
    answer.status,
    said.detail ?? `the answer was ${answer.status} ${answer.statusText}`,
    said.hint ?? '',
    said.errors ?? [],
  );
  // An answer to the token before this one says nothing about this one. That something is not allowed is no word about
  // the token, unless not even the status is.
  const refused = answer.status === 401 || (answer.status === 403 && path === STATUS);
  if (refused && used === token) token_wanted.value = used === '' ? (token_wanted.peek() ?? '') : failed.detail;
  throw failed;
}

export async function call<T>(path: string, what: request = {}): Promise<T> {
  const answer = await open('/api/v1' + path, what);
  return (await answer.json()) as T;
}

export function post<T>(path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
  return call<T>(path, { method: 'POST', body, headers });
}

/// All pages of a list, up to so many rows.
export async function all<T>(path: string, signal?: AbortSignal, most = 5000): Promise<T[]> {
  const rows: T[] = [];
  let cursor: string | null = null;
  do {
    const sign = path.includes('?') ? '&' : '?';
    const more = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const got: page<T> = await call<page<T>>(`${path}${sign}limit=500${more}`, { signal });
    rows.push(...got.items);
    cursor = got.next_cursor;
  } while (cursor !== null && rows.length < most);
  return rows;
}

/// One key for one click, so that a request that is sent twice makes one run.
export function new_key(): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return 'dashboard-' + Array.from(random, b => b.toString(16).padStart(2, '0')).join('');
}

export const path_of = {
  run: (id: string) => `/runs/${encodeURIComponent(id)}`,
  job: (name: string) => `/jobs/${encodeURIComponent(name)}`,
  schedule: (name: string) => `/schedules/${encodeURIComponent(name)}`,
};
