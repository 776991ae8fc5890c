// A job's definition as the fields of the form, and back. Keys that have no field stay in `more`, so that editing a job
// loses nothing. Pure; the coordinator judges what is in the fields, and says which by a pointer.
import { format_pairs, join_words, parse_pairs, split_words } from './words';

export interface job_form {
  name: string;
  description: string;
  kind: 'command' | 'script';
  command: string;
  script: string;
  args: string;
  cwd: string;
  env: string;
  timeout: string;
  attempts: string;
  backoff: string;
  queue: string;
  priority: string;
  max_running: string;
  labels: string;
  tags: string;
  rule: string;
  when: string;
  time_zone: string;
  catch_up: string;
  overlap: string;
  more: string;
}

export type field = keyof job_form;
type table = Record<string, any>;

export const rules = ['', 'every', 'hourly', 'daily', 'weekly', 'monthly', 'cron', 'at', 'manual'];

export const empty_form: job_form = {
  name: '',
  description: '',
  kind: 'command',
  command: '',
  script: '',
  args: '',
  cwd: '',
  env: '',
  timeout: '',
  attempts: '',
  backoff: '',
  queue: '',
  priority: '',
  max_running: '',
  labels: '',
  tags: '',
  rule: '',
  when: '',
  time_zone: '',
  catch_up: '',
  overlap: '',
  more: '',
};

const text = (v: unknown) => (v === undefined || v === null ? '' : String(v));

/// Without the keys that were taken; undefined when nothing is left.
function rest_of(o: table | undefined, taken: string[]): table | undefined {
  const rest = Object.fromEntries(Object.entries(o ?? {}).filter(([k]) => !taken.includes(k)));
  return Object.keys(rest).length > 0 ? rest : undefined;
}

export function form_of(d: table): job_form {
  const rule = rules.find(r => r !== '' && d.schedule?.[r] !== undefined) ?? '';
  const more =
    rest_of(d, [
      'name',
      'description',
      'command',
      'script',
      'args',
      'cwd',
      'env',
      'timeout',
      'retry',
      'queue',
      'priority',
      'max_running',
      'requires',
      'tags',
      'schedule',
    ]) ?? {};
  const retry = rest_of(d.retry, ['max_attempts', 'backoff']);
  const needs = rest_of(d.requires, ['labels']);
  const schedule = rest_of(d.schedule, [rule, 'time_zone', 'catch_up', 'overlap']);
  if (retry) more.retry = retry;
  if (needs) more.requires = needs;
  if (schedule) more.schedule = schedule;
  return {
    name: text(d.name),
    description: text(d.description),
    kind: d.script !== undefined ? 'script' : 'command',
    command: join_words(d.command ?? []),
    script: text(d.script),
    args: text(d.args),
    cwd: text(d.cwd),
    env: format_pairs(d.env),
    timeout: text(d.timeout),
    attempts: text(d.retry?.max_attempts),
    backoff: text(d.retry?.backoff),
    queue: text(d.queue),
    priority: text(d.priority),
    max_running: text(d.max_running),
    labels: format_pairs(d.requires?.labels),
    tags: format_pairs(d.tags),
    rule,
    when: rule === '' || rule === 'manual' ? '' : text(d.schedule[rule]),
    time_zone: text(d.schedule?.time_zone),
    catch_up: text(d.schedule?.catch_up),
    overlap: text(d.schedule?.overlap),
    more: Object.keys(more).length > 0 ? JSON.stringify(more, null, 2) : '',
  };
}

export type field_errors = Partial<Record<field, string>>;

/// A whole number as one; anything else goes as it is, for the coordinator to refuse with the field's name.
const number = (t: string) => (/^-?\d+$/.test(t.trim()) ? Number(t) : t);

export function schedule_of(f: job_form, more: table = {}): table | undefined {
  if (f.rule === '') return undefined;
  const s: table = { ...more };
  s[f.rule] = f.rule === 'manual' ? true : f.rule === 'hourly' ? number(f.when) : f.when.trim();
  if (f.time_zone.trim() !== '') s.time_zone = f.time_zone.trim();
  if (f.catch_up !== '') s.catch_up = f.catch_up;
  if (f.overlap !== '') s.overlap = f.overlap;
  return s;
}

/// The definition, and what is wrong already before the coordinator is asked.
export function definition_of(f: job_form): { definition: table; errors: field_errors } {
  const errors: field_errors = {};
  let more: table = {};
  if (f.more.trim() !== '') {
    try {
      more = JSON.parse(f.more);
      if (typeof more !== 'object' || more === null || Array.isArray(more)) throw new Error('it is no object');
    } catch (e) {
      more = {};
      errors.more = `must be a JSON object: ${(e as Error).message}`;
    }
  }
  const { retry: more_retry, requires: more_requires, schedule: more_schedule, ...d } = more;
  const put = (key: string, value: string, as: (t: string) => unknown = t => t) => {
    if (value.trim() !== '') d[key] = as(value.trim());
  };
  const pairs = (key: field): Record<string, string> | undefined => {
    const { pairs, bad } = parse_pairs(f[key]);
    if (bad !== null) errors[key] = `"${bad}" is not name=value`;
    return Object.keys(pairs).length > 0 ? pairs : undefined;
  };
  put('name', f.name);
  put('description', f.description);
  if (f.kind === 'script') {
    put('script', f.script);
    put('args', f.args);
  } else {
    const words = split_words(f.command);
    if (words === null) errors.command = 'ends inside a quotation or in a backslash';
    else if (words.length > 0) d.command = words;
  }
  if (f.name.trim() === '') errors.name = 'a job needs a name';
  if (d.command === undefined && d.script === undefined && d.builtin === undefined && !errors.command) {
    errors[f.kind] = 'nothing says what to run';
  }
  put('cwd', f.cwd);
  const env = pairs('env');
  if (env) d.env = env;
  put('timeout', f.timeout);
  const retry: table = { ...more_retry };
  if (f.attempts.trim() !== '') retry.max_attempts = number(f.attempts);
  if (f.backoff.trim() !== '') retry.backoff = f.backoff.trim();
  if (Object.keys(retry).length > 0) d.retry = retry;
  put('queue', f.queue);
  put('priority', f.priority, number);
  put('max_running', f.max_running, number);
  const labels = pairs('labels');
  if (labels || more_requires) d.requires = { ...more_requires, ...(labels ? { labels } : {}) };
  const tags = pairs('tags');
  if (tags) d.tags = tags;
  const schedule = schedule_of(f, more_schedule);
  if (schedule) d.schedule = schedule;
  if (f.rule !== '' && f.rule !== 'manual' && f.when.trim() === '') errors.when = 'the rule needs a value';
  return { definition: d, errors };
}

/// The field that a pointer of a problem is about; null if it is about the whole.
export function field_of(pointer: string, f: job_form): field | null {
  const exact: Record<string, field> = {
    '/retry/max_attempts': 'attempts',
    '/retry/backoff': 'backoff',
    '/schedule/time_zone': 'time_zone',
    '/schedule/catch_up': 'catch_up',
    '/schedule/overlap': 'overlap',
    [`/schedule/${f.rule}`]: 'when',
    '/schedule': 'rule',
    '': f.kind,
  };
  if (pointer in exact) return exact[pointer];
  if (pointer.startsWith('/requires/labels')) return 'labels';
  const first = pointer.split('/')[1] as field;
  if (
    [
      'name',
      'description',
      'command',
      'script',
      'args',
      'cwd',
      'env',
      'timeout',
      'queue',
      'priority',
      'max_running',
      'tags',
    ].includes(first)
  )
    return first;
  return pointer === '' ? null : 'more';
}
