// The small parts that pages are made of: states, times, buttons, dialogs, fields, tables, messages.
import { signal } from '@preact/signals';
import type { ComponentChildren, TargetedEvent } from 'preact';
import { useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { seen } from './ansi';
import { path_of, problem } from './api';
import type { run } from './api';
import { now, this_quarter } from './live';
import { absolute, coarse, relative, short_time } from './time';

// ---- settings of this browser

function stored(key: string, fallback: string) {
  const s = signal(localStorage.getItem(key) ?? fallback);
  s.subscribe(value => localStorage.setItem(key, value));
  return s;
}
export const theme = stored('orchestrator.theme', 'auto');
export const zone = stored('orchestrator.zone', 'local');
theme.subscribe(value => {
  document.documentElement.dataset.theme = value;
});

// ---- states: an icon, a word and a colour each

const tick = 'M3.5 8.5l3 3 6-7';
const cross = 'M4 4l8 8M12 4l-8 8';
const icons: Record<string, string> = {
  queued: 'M8 4v4l3 2M8 1.8a6.2 6.2 0 100 12.4A6.2 6.2 0 008 1.8',
  active: 'M5 3.2l7.5 4.8L5 12.8z',
  retry_wait: 'M12.8 8a4.8 4.8 0 11-1.5-3.5M12.8 2v3h-3',
  unknown: 'M5.6 6a2.4 2.4 0 113.4 2.2c-.7.4-1 .8-1 1.6M8 12.6v.2',
  succeeded: tick,
  failed: cross,
  cancelled: 'M8 1.8a6.2 6.2 0 100 12.4A6.2 6.2 0 008 1.8M3.8 3.8l8.4 8.4',
  expired: 'M4.5 2h7M4.5 14h7M5 2c0 4 6 8 6 12M11 2c0 4-6 8-6 12',
  skipped: 'M3 4l5 4-5 4zM12 3.5v9',
  paused: 'M5.5 3.5v9M10.5 3.5v9',
  online: tick,
  busy: 'M5 3.2l7.5 4.8L5 12.8z',
  draining: 'M8 2v8M4.5 7L8 10.5 11.5 7M3 14h10',
  stale: 'M8 4v4l3 2M8 1.8a6.2 6.2 0 100 12.4A6.2 6.2 0 008 1.8',
  offline: cross,
};
const colours: Record<string, string> = {
  queued: 'grey',
  active: 'blue',
  retry_wait: 'amber',
  unknown: 'violet',
  succeeded: 'green',
  failed: 'red',
  cancelled: 'grey',
  expired: 'amber',
  skipped: 'grey',
  timed_out: 'red',
  offered: 'grey',
  accepted: 'grey',
  running: 'blue',
  rejected: 'amber',
  not_started: 'grey',
  lost: 'violet',
  paused: 'amber',
  online: 'green',
  busy: 'blue',
  draining: 'amber',
  stale: 'amber',
  offline: 'red',
  held: 'amber',
  ready: 'green',
};
const same_icon: Record<string, string> = {
  timed_out: 'expired',
  offered: 'queued',
  accepted: 'queued',
  running: 'active',
  rejected: 'cancelled',
  not_started: 'skipped',
  lost: 'unknown',
  held: 'paused',
  ready: 'succeeded',
};
const words: Record<string, string> = {
  active: 'running',
  retry_wait: 'retry wait',
  timed_out: 'timed out',
  not_started: 'not started',
};

export const colour_of = (state: string) => colours[state] ?? 'grey';
export const word_of = (state: string) => words[state] ?? state;

export function State({ of, note, word }: { of: string; note?: string; word?: string }) {
  return (
    <span class={`state ${colour_of(of)}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d={icons[same_icon[of] ?? of] ?? icons.unknown} />
      </svg>
      <span>
        {word ?? word_of(of)}
        {note && <span class="note"> {note}</span>}
      </span>
    </span>
  );
}

/// What happened in the end: the reason, an exit code, a signal.
export function outcome(r: run): string {
  const last = r.attempts[r.attempts.length - 1];
  if (r.state === 'succeeded') return '';
  if (last?.exit_code != null && (!r.reason || r.reason === 'exit_code')) return `exit ${last.exit_code}`;
  const by = last?.signal != null ? ` (signal ${last.signal})` : '';
  return r.reason ? r.reason.replaceAll('_', ' ') + by : '';
}

export function RunState({ run }: { run: run }) {
  const note =
    run.held && run.state === 'queued'
      ? 'held'
      : run.cancel_requested && run.finished_at === null
        ? 'cancelling'
        : outcome(run);
  return <State of={run.state} note={note} />;
}

// ---- times

export function Time({ at, mode = 'relative' }: { at: string | null; mode?: 'relative' | 'short' | 'full' }) {
  if (!at) return <span class="faint">–</span>;
  const utc = zone.value === 'utc';
  const full = absolute(at, utc);
  const text =
    mode === 'full'
      ? full
      : mode === 'short'
        ? short_time(at, utc, this_quarter.value)
        : relative(Date.parse(at), now.value);
  return (
    <time dateTime={at} title={full}>
      {text}
    </time>
  );
}

export function Elapsed({ since }: { since: string }) {
  return <>{coarse(Math.max(0, (now.value - Date.parse(since)) / 1000))}</>;
}

// ---- messages

interface message {
  id: number;
  text: string;
  bad: boolean;
  link?: string;
}
const messages = signal<message[]>([]);
let last_message = 0;

export function say(text: string, options: { bad?: boolean; link?: string } = {}): void {
  const id = ++last_message;
  messages.value = [...messages.value.slice(-3), { id, text, bad: false, ...options }];
  setTimeout(
    () => {
      messages.value = messages.value.filter(m => m.id !== id);
    },
    options.bad ? 12_000 : 6_000,
  );
}

export function say_problem(e: unknown): void {
  const p = e instanceof problem ? e : null;
  say(p ? p.detail + (p.hint ? `. ${p.hint}` : '') : String(e), { bad: true });
}

export function Messages() {
  return (
    <div class="messages" role="status" aria-live="polite">
      {messages.value.map(m => (
        <p key={m.id} class={m.bad ? 'bad' : ''}>
          {m.text} {m.link && <a href={m.link}>Show</a>}
          <button
            type="button"
            class="plain"
            aria-label="Close"
            onClick={() => {
              messages.value = messages.value.filter(other => other.id !== m.id);
            }}>
            ×
          </button>
        </p>
      ))}
    </div>
  );
}

// ---- buttons that do something, one click at a time

export function Action({
  run,
  children,
  kind = '',
  disabled = false,
  title,
}: {
  run: () => Promise<unknown>;
  children: ComponentChildren;
  kind?: string;
  disabled?: boolean;
  title?: string;
}) {
  const [busy, set_busy] = useState(false);
  const click = async () => {
    set_busy(true);
    try {
      await run();
    } catch (e) {
      say_problem(e);
    } finally {
      set_busy(false);
    }
  };
  return (
    <button type="button" class={kind} disabled={disabled || busy} title={title} onClick={click}>
      {children}
    </button>
  );
}

export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context there is no clipboard, but the old way still works.
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  say('Copied');
}

// ---- dialogs: the browser's own keep the focus inside and close on Escape

export function Dialog({
  title,
  close,
  children,
  kind,
}: {
  title: string;
  /// Without it the dialog stays until what it is about is done.
  close?: () => void;
  children: ComponentChildren;
  kind?: string;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  // The browser tells of the end twice, and once more when the dialog is gone and another may be there.
  const ended = useRef(false);
  // Selecting text and letting go beside the dialog is no click beside it.
  const pressed_beside = useRef(false);
  const end = () => {
    if (ended.current) return;
    if (!close) return ref.current?.showModal(); // a browser lets nobody hinder its second Escape
    ended.current = true;
    close();
  };
  useLayoutEffect(() => {
    const opener = document.activeElement as HTMLElement | null;
    const dialog = ref.current!;
    dialog.showModal();
    return () => {
      ended.current = true;
      dialog.close(); // before, the page below cannot have the focus
      opener?.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={kind}
      aria-labelledby={id}
      onCancel={e => (close ? end() : e.preventDefault())}
      onClose={end}
      onPointerDown={e => {
        pressed_beside.current = e.target === ref.current;
      }}
      onClick={e => close && e.target === ref.current && pressed_beside.current && ref.current?.close()}>
      <div class="inside">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/// Asks before something that cannot be taken back.
export function Confirm({
  title,
  children,
  yes,
  kind = 'danger',
  run,
  close,
  disabled,
}: {
  title: string;
  children: ComponentChildren;
  yes: string;
  kind?: string;
  run: () => Promise<unknown>;
  close: () => void;
  disabled?: boolean;
}) {
  return (
    <Dialog title={title} close={close}>
      {children}
      <div class="buttons">
        <button type="button" onClick={close}>
          Back
        </button>
        <Action
          kind={kind}
          disabled={disabled}
          run={async () => {
            await run();
            close();
          }}>
          {yes}
        </Action>
      </div>
    </Dialog>
  );
}

// ---- fields

export function Field({
  label,
  hint,
  error,
  children,
  wide,
}: {
  label: string;
  hint?: string;
  error?: string;
  wide?: boolean;
  children: (props: { id: string; 'aria-describedby': string; 'aria-invalid': boolean }) => ComponentChildren;
}) {
  const id = useId();
  return (
    <div class={`field${wide ? ' wide' : ''}${error ? ' wrong' : ''}`}>
      <label for={id}>{label}</label>
      {children({ id, 'aria-describedby': `${id}-hint ${id}-error`, 'aria-invalid': !!error })}
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      <p class="error" id={`${id}-error`} role={error ? 'alert' : undefined}>
        {error}
      </p>
    </div>
  );
}

export const value_of = (e: TargetedEvent<HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>) =>
  e.currentTarget.value;

/// Text of several lines, as high as it is long. Enter begins a line, and with Ctrl it sends the form.
export function Area({
  value,
  change,
  least,
  ...rest
}: {
  value: string;
  change: (value: string) => void;
  least: number;
  id: string;
  name?: string;
}) {
  return (
    <textarea
      {...rest}
      rows={Math.min(20, Math.max(least, value.split('\n').length))}
      value={value}
      spellcheck={false}
      onInput={e => change(value_of(e))}
      onKeyDown={e => {
        if (e.key !== 'Enter' || !(e.ctrlKey || e.metaKey)) return;
        e.preventDefault();
        e.currentTarget.form?.requestSubmit();
      }}
    />
  );
}

// ---- pages

export function Page({
  title,
  sub,
  actions,
  children,
}: {
  title: ComponentChildren;
  sub?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}) {
  return (
    <>
      <header class="page">
        <div>
          <h1 tabIndex={-1}>{title}</h1>
          {sub && <div class="sub">{sub}</div>}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

/// A part of a page with its own heading.
export function Part({
  title,
  link,
  children,
  flush,
}: {
  title: string;
  link?: ComponentChildren;
  children: ComponentChildren;
  flush?: boolean;
}) {
  const id = useId();
  return (
    <section class={`part${flush ? ' flush' : ''}`} aria-labelledby={id}>
      <div class="head">
        <h2 id={id}>{title}</h2>
        {link}
      </div>
      {children}
    </section>
  );
}

/// A table that may be wider than the screen. When it is, it can be scrolled by the keyboard.
export function Scroll({ label, children }: { label: string; children: ComponentChildren }) {
  const ref = useRef<HTMLDivElement>(null);
  const [wide, set_wide] = useState(false);
  useLayoutEffect(() => {
    const look = () => set_wide(ref.current!.scrollWidth > ref.current!.clientWidth);
    const seen = new ResizeObserver(look);
    seen.observe(ref.current!);
    for (const child of ref.current!.children) seen.observe(child);
    return () => seen.disconnect();
  }, []);
  return (
    <div class="scroll" ref={ref} role="group" aria-label={label} tabIndex={wide ? 0 : undefined}>
      {children}
    </div>
  );
}

/// The head of a column of buttons, which says what it is to those who hear the page.
export const ActionsHead = () => (
  <th>
    <span class="hidden">Actions</span>
  </th>
);

/// Until something is there: why it is not.
export function Missing({ error, what }: { error: problem | undefined; what: string }) {
  if (!error)
    return (
      <p class="empty" aria-busy="true">
        Loading {what}…
      </p>
    );
  return (
    <div class="empty bad" role="alert">
      <p>
        {error.status === 404
          ? `There is no such ${what.replace(/s$/, '')}.`
          : `Cannot show the ${what}: ${error.detail}`}
      </p>
      {error.hint && <p class="faint">{error.hint}</p>}
    </div>
  );
}

export const short_id = (id: string) => id.slice(-8);

export function RunLink({ id }: { id: string }) {
  return (
    <a class="mono" href={path_of.run(id)} title={id}>
      {short_id(id)}
    </a>
  );
}

export function JobLink({ name }: { name: string }) {
  return (
    <a href={path_of.job(name)} class="name">
      {name}
    </a>
  );
}

export function Tags({ of }: { of: Record<string, unknown> }) {
  return (
    <>
      {Object.entries(of).map(([k, v]) => (
        <span class="tag" key={k}>
          {seen(`${k}=${v}`)}
        </span>
      ))}
    </>
  );
}

/// Rows of name and value; those without a value are left out.
export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {rows
        .filter(([, v]) => v !== null && v !== undefined && v !== '' && v !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/// Used of all, as a bar and in words.
export function Meter({ used, of, label }: { used: number; of: number; label: string }) {
  return (
    <span class="meter">
      <meter min={0} max={Math.max(1, of)} value={Math.min(used, of)} aria-label={label} />
      <span class="num">
        {used}/{of}
      </span>
    </span>
  );
}
