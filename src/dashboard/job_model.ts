// A job's definition as the fields of the form, and back. Keys that have no field stay in `more`, so that editing a job
// loses nothing. Pure; the coordinator judges what is in the fields, and says which by a pointer.
import { format_pairs, is_line_pair, join_words, parse_pairs, split_words } from './words';

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
export type table = Record<string, any>;

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

const is_table = (v: unknown): v is table => typeof v === 'object' && v !== null && !Array.isArray(v);

/// Pairs that a line can hold, and those that none can: they stay in `more`.
function split_pairs(pairs: unknown): { lines: table; odd: table | undefined } {
  const all: table = is_table(pairs) ? pairs : {};
  const fits = (k: string) => is_line_pair(k, all[k]);
  const keys = Object.keys(all);
  return {
    lines: rest_of(all, keys.filter(k => !fits(k))) ?? {},
    odd: rest_of(all, keys.filter(fits)),
  };
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
  const env = split_pairs(d.env);
  const tags = split_pairs(d.tags);
  const labels = split_pairs(d.requires?.labels);
  const retry = rest_of(d.retry, ['max_attempts', 'backoff']);
  const needs = { ...rest_of(d.requires, ['labels']), ...(labels.odd && { labels: labels.odd }) };
  const schedule = rest_of(d.schedule, [rule, 'time_zone', 'catch_up', 'overlap']);
  if (env.odd) more.env = env.odd;
  if (tags.odd) more.tags = tags.odd;
  if (retry) more.retry = retry;
  if (Object.keys(needs).length > 0) more.requires = needs;
  if (schedule) more.schedule = schedule;
  return {
    name: text(d.name),
    description: text(d.description),
    kind: d.script !== undefined ? 'script' : 'command',
    command: join_words(d.command ?? []),
    script: text(d.script),
    args: text(d.args),
    cwd: text(d.cwd),
    env: format_pairs(env.lines),
    timeout: text(d.timeout),
    attempts: text(d.retry?.max_attempts),
    backoff: text(d.retry?.backoff),
    queue: text(d.queue),
    priority: text(d.priority),
    max_running: text(d.max_running),
    labels: format_pairs(labels.lines),
    tags: format_pairs(tags.lines),
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
const trimmed = (t: string) => t.trim();
const as_it_is = (t: string) => t;

const tables = ['retry', 'requires', 'schedule', 'env', 'tags']; // keys that fields and `more` have parts of

/// What the fields of a form say, where a field that nobody touched says what was stored, to the last space.
class reader {
  readonly errors: field_errors = {};
  private readonly stored: job_form;

  constructor(
    private readonly form: job_form,
    private readonly was: table,
  ) {
    this.stored = form_of(was);
  }

  untouched(...keys: field[]): boolean {
    return keys.every(k => this.form[k] === this.stored[k]);
  }

  /// Sets `key` of `into`, unless the field is empty. `was` is the table that had it.
  put(into: table, key: string, from: field, as: (t: string) => unknown = trimmed, was: unknown = this.was): void {
    if (this.untouched(from) && is_table(was) && was[key] !== undefined) into[key] = was[key];
    else if (this.form[from].trim() !== '') into[key] = as(this.form[from]);
  }

  /// Pairs of a field and of `more` as one; undefined when there is none.
  pairs(from: 'env' | 'tags' | 'labels', more: table | undefined): table | undefined {
    const { pairs, bad } = parse_pairs(this.form[from]);
    if (bad !== null) this.errors[from] = `"${bad}" is not name=value`;
    const all = { ...more, ...pairs };
    return Object.keys(all).length > 0 ? all : undefined;
  }

  /// `more` as the object that it must be, and so those of its keys that have fields, too.
  more(): table {
    if (this.form.more.trim() === '') return {};
    let more: unknown;
    try {
      more = JSON.parse(this.form.more);
    } catch (e) {
      this.errors.more = `must be a JSON object: ${(e as Error).message}`;
      return {};
    }
    if (!is_table(more)) {
      this.errors.more = 'must be a JSON object, such as {"rate": "10/m"}';
      return {};
    }
    const labels = is_table(more.requires) ? more.requires.labels : undefined;
    const inner: table = { ...more, 'requires.labels': labels };
    const wrong = [...tables, 'requires.labels'].find(k => inner[k] !== undefined && !is_table(inner[k]));
    if (wrong === undefined) return more;
    this.errors.more = `\`${wrong}\` must be an object`;
    return {};
  }
}

const names_rule = (schedule: table) => rules.some(r => r !== '' && schedule[r] !== undefined);

/// With no rule chosen, what `more` says is the schedule, if that has one.
export function schedule_of(f: job_form, more: table = {}, was: table | null = null): table | undefined {
  if (f.rule === '' && !names_rule(more)) return undefined;
  const read = new reader(f, was ?? {});
  const before = was?.schedule;
  const s: table = { ...more };
  if (f.rule === 'manual') read.put(s, 'manual', 'rule', () => true, before);
  else if (f.rule !== '') {
    const same = read.untouched('rule', 'when') && is_table(before);
    s[f.rule] = same ? before[f.rule] : f.rule === 'hourly' ? number(f.when) : f.when.trim();
  }
  read.put(s, 'time_zone', 'time_zone', trimmed, before);
  read.put(s, 'catch_up', 'catch_up', trimmed, before);
  read.put(s, 'overlap', 'overlap', trimmed, before);
  return s;
}

/// The definition, and what is wrong already before the coordinator is asked. `was` is the definition that is edited.
export function definition_of(f: job_form, was: table | null = null): { definition: table; errors: field_errors } {
  const read = new reader(f, was ?? {});
  const { errors } = read;
  const more = read.more();
  const d = rest_of(more, tables) ?? {};
  const put = (key: field, as?: (t: string) => unknown) => read.put(d, key, key, as);
  put('name');
  put('description', as_it_is);
  if (f.kind === 'script') {
    put('script');
    put('args', as_it_is);
  } else if (f.command.trim() !== '') {
    const words = split_words(f.command);
    if (words === null) errors.command = 'ends inside a quotation or in a backslash';
    else put('command', () => words);
  }
  if (f.name.trim() === '') errors.name = 'a job needs a name';
  if (d.command === undefined && d.script === undefined && d.builtin === undefined && !errors.command) {
    errors[f.kind] = 'nothing says what to run';
  }
  put('cwd');
  put('timeout');
  put('queue');
  put('priority', number);
  put('max_running', number);
  const part = (key: string, value: table | undefined) => {
    if (value && Object.keys(value).length > 0) d[key] = value;
  };
  part('env', read.pairs('env', more.env));
  part('tags', read.pairs('tags', more.tags));
  const retry: table = { ...more.retry };
  read.put(retry, 'max_attempts', 'attempts', number, was?.retry);
  read.put(retry, 'backoff', 'backoff', trimmed, was?.retry);
  part('retry', retry);
  const labels = read.pairs('labels', more.requires?.labels);
  part('requires', labels ? { ...more.requires, labels } : more.requires);
  part('schedule', schedule_of(f, more.schedule, was));
  if (f.rule === '' && is_table(more.schedule) && !names_rule(more.schedule)) {
    errors.more = '`schedule` names no rule: choose one under Schedule, or remove it here';
  }
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
