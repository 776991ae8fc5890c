// A command line as words and back, `k=v` lines as an object and back, and a run as the command that starts it
// again. Pure.

/// Words as a POSIX shell splits them, without any expansion; null when a quotation does not end.
export function split_words(line: string): string[] | null {
  const words: string[] = [];
  let word: string | null = null;
  let quote = '';
  for (let i = 0; i < line.length; ++i) {
    const c = line[i];
    if (quote === "'") {
      if (c === "'") quote = '';
      else word += c;
    } else if (c === '\\') {
      if (i + 1 >= line.length) return null;
      const next = line[++i];
      word = (word ?? '') + (quote === '"' && !'"\\$`'.includes(next) ? '\\' + next : next);
    } else if (quote === '"') {
      if (c === '"') quote = '';
      else word += c;
    } else if (c === '"' || c === "'") {
      quote = c;
      word ??= '';
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word = (word ?? '') + c;
    }
  }
  if (quote !== '') return null;
  if (word !== null) words.push(word);
  return words;
}

export function quote_word(word: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return "'" + word.replaceAll("'", "'\\''") + "'";
}

export function join_words(words: string[]): string {
  return words.map(quote_word).join(' ');
}

/// Lines `name=value`; the first line that is none is told.
export function parse_pairs(text: string): { pairs: Record<string, string>; bad: string | null } {
  const pairs: Record<string, string> = {};
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const at = line.indexOf('=');
    if (at < 1) return { pairs, bad: line };
    pairs[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return { pairs, bad: null };
}

/// Whether a line says this pair and no other.
export function is_line_pair(name: string, value: unknown): boolean {
  if (name === '' || name !== name.trim() || /[=\r\n]/.test(name)) return false;
  return typeof value === 'string' && !/[\r\n]/.test(value);
}

export function format_pairs(pairs: Record<string, unknown> | undefined): string {
  return Object.entries(pairs ?? {})
    .map(([k, v]) => `${k}=${v}`)
    .join('\n');
}

/// What a bulk cancellation did, as the answers say: a run that had ended cannot be cancelled any more.
export function told_cancels(
  answers: { now?: { state: string; finished_at: string | null }; failed?: string }[],
): { text: string; bad: boolean } {
  const count = (fits: (a: (typeof answers)[0]) => boolean) => answers.filter(fits).length;
  const cancelled = count(a => a.now?.state === 'cancelled');
  const stopping = count(a => a.now?.finished_at === null);
  const failed = answers.filter(a => a.failed !== undefined);
  const ended = answers.length - cancelled - stopping - failed.length;
  const parts: [number, string][] = [
    [cancelled, 'cancelled'],
    [stopping, 'told to end'],
    [ended, 'had ended already'],
    [failed.length, `could not be cancelled: ${failed[0]?.failed}`],
  ];
  const told = parts.filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}`);
  return { text: told.join(', '), bad: failed.length > 0 };
}

interface started {
  job: string;
  job_version: number | null;
  args: string | null;
  spec: Record<string, any> | null;
}

const flags: [string, string][] = [
  ['--cwd', 'cwd'],
  ['--timeout', 'timeout'],
  ['--kill-grace', 'kill_grace'],
  ['--start-within', 'start_within'],
  ['--queue', 'queue'],
  ['--priority', 'priority'],
  ['--max-running', 'max_running'],
  ['--rate', 'rate'],
];
const with_parts = [
  'script',
  'args',
  'command',
  'builtin',
  'env',
  'tags',
  'locks',
  'requires',
  'retry',
  'at_most_once',
];

/// The command that starts the same once more. What no flag says is told behind a #.
export function command_of(run: started): string {
  if (run.job_version !== null) {
    return (
      `orchestrator job run ${quote_word(run.job)}` + (run.args === null ? '' : ` --args ${quote_word(run.args)}`)
    );
  }
  const spec = run.spec ?? {};
  const words = ['orchestrator', 'submit', '--name', run.job];
  const add = (flag: string, value: unknown) => {
    if (value !== undefined) words.push(flag, String(value));
  };
  const add_pairs = (flag: string, pairs: Record<string, unknown> | undefined) => {
    for (const [k, v] of Object.entries(pairs ?? {})) add(flag, `${k}=${v}`);
  };
  for (const [flag, key] of flags) add(flag, spec[key]);
  add_pairs('--env', spec.env);
  add_pairs('--tag', spec.tags);
  add_pairs('--require', spec.requires?.labels);
  add_pairs('--require-resource', spec.requires?.resources);
  for (const lock of spec.locks ?? []) add('--lock', lock);
  if (spec.retry?.max_attempts) add('--retries', spec.retry.max_attempts - 1);
  add('--backoff', spec.retry?.backoff);
  for (const code of spec.retry?.on_exit ?? []) add('--retry-on', code);
  if (spec.at_most_once) words.push('--at-most-once');
  if (spec.builtin) words.push('--noop');
  add('--script', spec.script);
  add('--args', spec.args);
  if (spec.command) words.push('--', ...spec.command);
  const known = [...with_parts, ...flags.map(([, key]) => key)];
  const unsaid = Object.keys(spec).filter(key => !known.includes(key));
  return join_words(words) + (unsaid.length === 0 ? '' : `  # without: ${unsaid.join(', ')}`);
}
