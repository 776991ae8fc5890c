// Calls of the coordinator's HTTP API: the session, problems as exceptions, and the shapes of what comes back. Every
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

// ---- the session

export interface session {
  name: string;
  role: string;
  expires_at: string | null;
  /// What a change has to bring beside the cookie, which no script can read; null when there is no cookie.
  csrf: string | null;
}

/// As whom the coordinator knows this browser; null before it was asked, and of who left.
export const me = signal<session | null>(null);

/// Set when the coordinator wants a token, with what it said about the last one.
export const token_wanted = signal<string | null>(null);

const SESSION = '/api/v1/session';
/// Counts logins: an answer to a request from before the last one says nothing about it.
let logins = 0;

/// The tabs of one coordinator have one cookie, and tell each other when it came or went.
const tabs = new BroadcastChannel('orchestrator.session');

async function ask_who(): Promise<void> {
  try {
    me.value = await call<session>('/session');
    token_wanted.value = null;
  } catch {
    // A 401 has asked for a token already. Who cannot be reached now is asked again before the first change.
  }
}

/// Trades the token for a cookie. Why it is not taken; empty if it is.
export async function log_in(token: string, remember: boolean): Promise<string> {
  const refused = refused_token(token);
  if (refused !== '') return refused;
  try {
    await open(SESSION, { method: 'POST', body: { remember }, headers: { Authorization: `Bearer ${token}` } });
  } catch (e) {
    return e instanceof problem ? e.detail : String(e);
  }
  ++logins;
  await ask_who();
  tabs.postMessage('in');
  return '';
}

function leave_here(): void {
  me.value = null;
  token_wanted.value = '';
}

/// For every tab.
export async function log_out(): Promise<void> {
  await open(SESSION, { method: 'DELETE' }).catch(() => {}); // a session that has ended is left as well
  leave_here();
  tabs.postMessage('out');
}

/// An address may bring a token behind its #, where no server sees it; it is taken out of the address bar at once,
/// whatever it is. False if there was none.
export async function take_address(): Promise<boolean> {
  const given = token_of(location.hash);
  if (given === undefined) return false;
  history.replaceState(null, '', location.pathname + location.search);
  const refused = await log_in(given, false);
  if (refused !== '') token_wanted.value = refused;
  return true;
}

/// The session of the address's token, or of this browser.
export async function find_session(): Promise<void> {
  tabs.onmessage = e => {
    if (e.data === 'out') leave_here();
    else {
      ++logins;
      void ask_who();
    }
  };
  if (!(await take_address())) await ask_who();
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

/// The answer as it comes, for streams; problems are thrown.
export async function open(path: string, what: request = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json', ...what.headers };
  const method = what.method ?? 'GET';
  const is_login = headers.Authorization !== undefined;
  let body: string | undefined;
  if (method === 'POST' || method === 'PUT') {
    // Without a body, too: the coordinator takes no change that a foreign page's form could send.
    headers['Content-Type'] = 'application/json';
    body = what.body === undefined ? '' : JSON.stringify(what.body);
  }
  if (method !== 'GET' && !is_login) {
    if (me.peek() === null) await ask_who();
    const csrf = me.peek()?.csrf;
    if (csrf) headers['Orchestrator-CSRF'] = csrf;
  }
  const asked = logins;
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body,
      signal: what.signal,
      cache: 'no-store',
      credentials: 'same-origin',
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
  // That something is not allowed is no word about the session; that nobody is known is. A login tells its own caller.
  if (answer.status === 401 && asked === logins && !is_login)
    token_wanted.value = me.peek() === null ? (token_wanted.peek() ?? '') : failed.detail;
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
