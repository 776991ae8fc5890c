// Creating and editing a job. What the coordinator refuses is shown at the field that it names; the next instants of a
// schedule are shown before anything is stored.
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, path_of, post, problem } from './api';
import type { instant, job } from './api';
import { definition_of, empty_form, field_of, form_of, schedule_of } from './job_model';
import type { field, field_errors, job_form, table } from './job_model';
import { use_resource } from './live';
import { go, unsaved } from './router';
import { Instants } from './schedules';
import { Area, Field, Missing, Page, say, say_problem, value_of } from './ui';

const PREVIEW_PAUSE = 250; // after the last key

const rule_words: Record<string, string> = {
  '': 'no schedule',
  every: 'every so often',
  hourly: 'every hour',
  daily: 'every day',
  weekly: 'every week',
  monthly: 'every month',
  cron: 'cron',
  at: 'once',
  manual: 'by hand only',
};
const when_hints: Record<string, string> = {
  every: 'Such as 15m or 1h30m',
  hourly: 'The minute, from 0 to 59',
  daily: 'Such as 02:30',
  weekly: 'Such as mon@02:30',
  monthly: 'Such as 1@02:30; a day that a month lacks is its last',
  cron: 'Minute, hour, day, month, weekday: 30 2 * * 1-5',
  at: 'Such as 2027-01-31T23:59:00+08:00',
};

const zones: string[] = (Intl as any).supportedValuesOf?.('timeZone') ?? [];

function Preview({ form, was }: { form: job_form; was: table | null }) {
  const [found, set_found] = useState<{ instants?: instant[]; error?: string }>({});
  let more: table = {};
  try {
    more = JSON.parse(form.more).schedule ?? {};
  } catch {
    // Saving says what is wrong there.
  }
  const schedule = JSON.stringify(
    form.when.trim() === '' && form.rule !== 'manual' ? null : (schedule_of(form, more, was) ?? null),
  );
  useEffect(() => {
    if (schedule === 'null') {
      set_found({});
      return;
    }
    let over = false;
    const timer = setTimeout(() => {
      post<instant[]>('/schedules:preview', { schedule: JSON.parse(schedule), count: 5 }).then(
        instants => !over && set_found({ instants }),
        e => !over && set_found({ error: (e as problem).detail }),
      );
    }, PREVIEW_PAUSE);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [schedule]);
  if (form.rule === '') return null;
  return (
    <div class="preview wide" role="status" aria-label="Next instants">
      <p class="label">Next instants</p>
      {found.error ? (
        <p class="bad">{found.error}</p>
      ) : found.instants ? (
        <Instants of={found.instants} />
      ) : (
        <p class="faint">Fill in when it runs.</p>
      )}
    </div>
  );
}

/// `was` is the stored definition and its version; null for a job that is new.
function Form({ was }: { was: { definition: table; version: number } | null }) {
  const definition_was = was?.definition ?? null;
  const version = was?.version ?? null;
  const [start] = useState(() => (definition_was ? form_of(definition_was) : empty_form));
  const [form, set_form] = useState(start);
  const [errors, set_errors] = useState<field_errors>({});
  const [whole, set_whole] = useState('');
  const [busy, set_busy] = useState(false);
  const ref = useRef<HTMLFormElement>(null);
  const set = (key: field, value: string) => {
    set_form({ ...form, [key]: value });
    if (errors[key]) set_errors({ ...errors, [key]: undefined });
  };
  const touched = (Object.keys(start) as field[]).some(key => form[key] !== start[key]);
  useEffect(() => {
    unsaved.value = touched;
  }, [touched]);
  useEffect(() => () => void (unsaved.value = false), []);
  const show = (found: field_errors, text = '') => {
    set_errors(found);
    set_whole(text);
    requestAnimationFrame(() => ref.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus());
  };
  const save = async (e: Event) => {
    e.preventDefault();
    const { definition, errors: wrong } = definition_of(form, definition_was);
    if (Object.keys(wrong).length > 0) return show(wrong);
    set_busy(true);
    try {
      const headers: Record<string, string> =
        version === null ? { 'If-None-Match': '*' } : { 'If-Match': `"${version}"` };
      const stored = await call<job>(path_of.job(form.name.trim()), { method: 'PUT', body: definition, headers });
      say(
        version === null
          ? `${stored.name} is created`
          : stored.version === version
            ? 'Nothing changed'
            : `${stored.name} is version ${stored.version} now`,
      );
      unsaved.value = false;
      go(path_of.job(stored.name));
    } catch (e) {
      set_busy(false);
      if (!(e instanceof problem)) return say_problem(e);
      const found: field_errors = {};
      for (const one of e.errors) {
        const at = field_of(one.pointer, form);
        if (at) found[at] = one.detail + (e.hint ? `; ${e.hint}` : '');
      }
      if (e.status === 412 && version === null) found.name ??= 'there is a job of this name already';
      show(found, Object.values(found).some(v => v) ? '' : e.detail + (e.hint ? `. ${e.hint}` : ''));
    }
  };
  const input = (key: field, label: string, hint?: string, wide?: boolean, list?: string) => (
    <Field label={label} hint={hint} error={errors[key]} wide={wide}>
      {p => (
        <input
          {...p}
          name={key}
          value={form[key]}
          list={list}
          autocomplete="off"
          spellcheck={false}
          onInput={e => set(key, value_of(e))}
          readOnly={key === 'name' && version !== null}
        />
      )}
    </Field>
  );
  const area = (key: field, label: string, hint?: string, wide?: boolean, least = 3) => (
    <Field label={label} hint={hint} error={errors[key]} wide={wide}>
      {p => (
        <Area {...p} name={key} least={least} value={form[key]} change={value => set(key, value)} />
      )}
    </Field>
  );
  const select = (key: field, label: string, options: [string, string][]) => (
    <Field label={label} error={errors[key]}>
      {p => (
        <select {...p} name={key} value={form[key]} onChange={e => set(key, value_of(e))}>
          {options.map(([value, word]) => (
            <option value={value} key={value}>
              {word}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
  return (
    <form class="form page-form" ref={ref} onSubmit={save} noValidate>
      {whole && (
        <p class="banner bad wide" role="alert">
          {whole}
        </p>
      )}
      <fieldset>
        <legend>What runs</legend>
        {input('name', 'Name', version === null ? 'Letters, digits, dot, dash and underscore' : 'A name stays')}
        {area('description', 'Description', undefined, false, 1)}
        {select('kind', 'Runs a', [
          ['command', 'command'],
          ['script', 'script'],
        ])}
        {form.kind === 'command' ? (
          area(
            'command',
            'Command',
            "Split into words as a shell does, but run without one: sh -c 'a | b' for a pipe. Ctrl+Enter saves",
            true,
            1,
          )
        ) : (
          <>
            {input(
              'script',
              'Script',
              '.py by python3, .sh by bash, else it must be executable; looked for where the worker runs',
            )}
            {area('args', 'Arguments', 'Each run may be given others', false, 1)}
          </>
        )}
        {input('cwd', 'Working directory')}
        {area('env', 'Environment', 'Lines NAME=value')}
      </fieldset>
      <fieldset>
        <legend>When</legend>
        {select('rule', 'Schedule', Object.entries(rule_words))}
        {form.rule !== '' && form.rule !== 'manual' && input('when', 'Runs', when_hints[form.rule])}
        {form.rule !== '' && form.rule !== 'manual' && form.rule !== 'at' && (
          <>
            {input('time_zone', 'Time zone', 'Empty: UTC', false, 'zones')}
            <datalist id="zones">
              {zones.map(z => (
                <option value={z} key={z} />
              ))}
            </datalist>
            {select('catch_up', 'After a pause of the coordinator', [
              ['', 'default (latest)'],
              ['none', 'skip what was missed'],
              ['latest', 'run the latest'],
              ['all', 'run all, at most 10'],
            ])}
            {select('overlap', 'While the last run still runs', [
              ['', 'default (skip)'],
              ['skip', 'skip'],
              ['queue', 'wait, one at most'],
              ['queue_all', 'wait, all of them'],
              ['cancel_old', 'cancel the old one'],
              ['allow', 'run beside it'],
            ])}
          </>
        )}
        <Preview form={form} was={definition_was} />
      </fieldset>
      <fieldset>
        <legend>Limits and retries</legend>
        {input('timeout', 'Timeout', 'Such as 30m; default 1h')}
        {input('attempts', 'Attempts at most', 'Default 1: no retry')}
        {input('backoff', 'Wait before a retry', 'Such as 10s; doubles')}
        {input('max_running', 'Runs at once', 'Empty: no limit')}
        {input('queue', 'Queue', 'Default: default')}
        {input('priority', 'Priority', 'Larger goes first')}
        {area('labels', 'Labels a worker must have', 'Lines name=value')}
        {area('tags', 'Tags to find its runs by', 'Lines name=value')}
      </fieldset>
      <details open={form.more !== '' || !!errors.more}>
        <summary>Other keys of a job file, as JSON</summary>
        {area('more', 'Other keys', 'Such as {"locks": ["db"], "rate": "10/m", "retry": {"on_exit": [75]}}')}
      </details>
      <div class="buttons">
        <a class="button" href={version === null ? '/jobs' : path_of.job(form.name)}>
          Back
        </a>
        <button class="main" disabled={busy}>
          {version === null ? 'Create' : 'Save'}
        </button>
      </div>
    </form>
  );
}

export function NewJob() {
  return (
    <Page title="New job">
      <Form was={null} />
    </Page>
  );
}

export function EditJob({ name }: { name: string }) {
  const { data, error } = use_resource('edit' + name, [], signal => call<job>(path_of.job(name), { signal }));
  // What comes later does not overwrite what is being typed.
  const first = useRef<job | undefined>(undefined);
  if (!first.current) first.current = data;
  return (
    <Page title={`Edit ${name}`} sub={first.current && <span class="faint">version {first.current.version}</span>}>
      {first.current ? (
        <Form was={first.current} />
      ) : (
        <Missing error={error} what="job" />
      )}
    </Page>
  );
}
