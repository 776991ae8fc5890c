// Schedules: what fires when, and for one of them what became of every instant, with a way to run those of the past.
import { useState } from 'preact/hooks';
import { call, path_of, post, problem } from './api';
import type { instant, ledger_row, page, schedule } from './api';
import { now, use_resource } from './live';
import { relative } from './time';
import {
  Action,
  ActionsHead,
  Dialog,
  Field,
  Missing,
  Page,
  Part,
  RunLink,
  Scroll,
  State,
  Time,
  say,
  say_problem,
  value_of,
} from './ui';

const notes: Record<string, string> = {
  gap_shifted: 'its time is skipped by the change of clocks: moved',
  gap_merged: 'falls together with another',
  fold_second: 'the second of two equal times',
};

/// The wall clock of the schedule's zone, as the coordinator gave it: "2026-11-27 02:30 +08:00".
const wall = (text: string) =>
  `${text.slice(0, 10)} ${text.slice(11, 19).replace(/:00$/, '')} ${text.endsWith('Z') ? 'UTC' : text.slice(23)}`;

const weekday = (text: string) =>
  new Date(text.slice(0, 10) + 'T00:00:00Z').toLocaleDateString('en', { weekday: 'short', timeZone: 'UTC' });

export function Instants({ of }: { of: instant[] }) {
  if (of.length === 0) return <p class="empty">It will not fire.</p>;
  return (
    <ol class="instants">
      {of.map(i => (
        <li key={i.utc}>
          <time dateTime={i.utc} class="num">
            {weekday(i.instant)} {wall(i.instant)}
          </time>
          <span class="faint num"> {relative(Date.parse(i.utc), now.value)}</span>
          {i.note && <span class="note amber"> {notes[i.note] ?? i.note}</span>}
        </li>
      ))}
    </ol>
  );
}

async function pause(s: { job: string; paused: boolean }): Promise<void> {
  await post(`${path_of.schedule(s.job)}/${s.paused ? 'resume' : 'pause'}`);
  say(s.paused ? `The schedule of ${s.job} fires again` : `The schedule of ${s.job} is paused`);
}

export function Schedules() {
  const { data, error, reload } = use_resource(
    'schedules',
    ['jobs'],
    signal => call<page<schedule>>('/schedules', { signal }),
    true,
  );
  return (
    <Page
      title="Schedules"
      actions={
        <a class="button main" href="/jobs:new">
          New job
        </a>
      }>
      {!data ? (
        <Missing error={error} what="schedules" />
      ) : data.items.length === 0 ? (
        <p class="empty">No job has a schedule. A job gets one when it is created or edited.</p>
      ) : (
        <Scroll label="Schedules">
          <table>
            <thead>
              <tr>
                <th>Job</th>
                <th>When</th>
                <th>State</th>
                <th>Next, in its zone</th>
                <th class="right">Starts</th>
                <ActionsHead />
              </tr>
            </thead>
            <tbody>
              {data.items.map(s => (
                <tr key={s.job}>
                  <th scope="row">
                    <a class="name" href={path_of.schedule(s.job)}>
                      {s.job}
                    </a>
                  </th>
                  <td>{s.text}</td>
                  <td>
                    <State of={s.paused ? 'paused' : 'ready'} />
                  </td>
                  <td class="num">{s.next[0] ? wall(s.next[0].instant) : '–'}</td>
                  <td class="right num">{s.next[0] ? relative(Date.parse(s.next[0].utc), now.value) : 'never'}</td>
                  <td class="right">
                    <Action
                      kind="small"
                      run={async () => {
                        await pause(s);
                        reload();
                      }}>
                      {s.paused ? 'Resume' : 'Pause'}
                    </Action>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Page>
  );
}

// ---- one schedule

const outcome_state: Record<string, string> = {
  ran: 'succeeded',
  late: 'succeeded',
  gap_shifted: 'succeeded',
  skipped_overlap: 'skipped',
  skipped_calendar: 'skipped',
  paused: 'paused',
  fold_merged: 'skipped',
  missed: 'expired',
  rejected: 'failed',
};

function Ledger({ job }: { job: string }) {
  const first = use_resource('ledger' + job, ['jobs', 'runs'], signal =>
    call<page<ledger_row>>(`${path_of.schedule(job)}/history?limit=50`, { signal }),
  );
  const [older, set_older] = useState<{ rows: ledger_row[]; next: string | null }>();
  if (!first.data) return <Missing error={first.error} what="ledger" />;
  const rows = [...first.data.items];
  for (const r of older?.rows ?? []) if (!rows.some(known => known.instant === r.instant)) rows.push(r);
  const next = older ? older.next : first.data.next_cursor;
  if (rows.length === 0) return <p class="empty">No instant has come yet.</p>;
  return (
    <Scroll label="Ledger">
      <table>
        <thead>
          <tr>
            <th>Instant</th>
            <th>What became of it</th>
            <th>Run</th>
            <th>Rule</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(r => (
            <tr key={r.instant}>
              <td class="num">
                <Time at={r.instant} mode="full" />
                {r.count > 1 && (
                  <>
                    {' '}
                    to <Time at={r.until} mode="full" /> <span class="faint">({r.count})</span>
                  </>
                )}
              </td>
              <td>
                <State of={outcome_state[r.outcome] ?? 'unknown'} word={r.outcome.replaceAll('_', ' ')} />
              </td>
              <td>{r.run ? <RunLink id={r.run} /> : <span class="faint">none</span>}</td>
              <td class="faint">{r.rule}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {next && (
        <p class="more">
          <Action
            run={async () => {
              const got = await call<page<ledger_row>>(
                `${path_of.schedule(job)}/history?limit=50&cursor=${encodeURIComponent(next)}`,
              );
              set_older({ rows: [...(older?.rows ?? []), ...got.items], next: got.next_cursor });
            }}>
            Older ones
          </Action>
        </p>
      )}
    </Scroll>
  );
}

function Backfill({ job, close }: { job: string; close: () => void }) {
  const local = (ms: number) => {
    const t = new Date(ms - new Date().getTimezoneOffset() * 60_000);
    return t.toISOString().slice(0, 16);
  };
  const [from, set_from] = useState(local(now.peek() - 24 * 3600_000));
  const [to, set_to] = useState(local(now.peek()));
  const [found, set_found] = useState<{ items: { instant: string }[]; had_runs: number }>();
  const [failed, set_failed] = useState<problem>();
  const ask = (dry: boolean) => {
    const iso = (text: string) => {
      const t = new Date(text);
      return Number.isNaN(t.getTime()) ? text : t.toISOString();
    };
    return post<{ items: { instant: string }[]; had_runs: number }>(`${path_of.schedule(job)}/backfill`, {
      from: iso(from),
      to: iso(to),
      dry_run: dry,
    });
  };
  const error = (pointer: string) => failed?.errors.find(e => e.pointer === pointer)?.detail;
  const guarded = async (work: () => Promise<void>) => {
    set_failed(undefined);
    try {
      await work();
    } catch (e) {
      if (e instanceof problem) set_failed(e);
      else say_problem(e);
    }
  };
  return (
    <Dialog title={`Backfill ${job}`} close={close}>
      <p>A run for each instant of a past window that has none. Times are those of your browser.</p>
      <div class="form">
        <Field label="From" error={error('/from')}>
          {p => (
            <input
              {...p}
              type="datetime-local"
              value={from}
              onInput={e => {
                set_from(value_of(e));
                set_found(undefined);
              }}
            />
          )}
        </Field>
        <Field label="To" error={error('/to')}>
          {p => (
            <input
              {...p}
              type="datetime-local"
              value={to}
              onInput={e => {
                set_to(value_of(e));
                set_found(undefined);
              }}
            />
          )}
        </Field>
      </div>
      {failed && !error('/from') && !error('/to') && (
        <p class="bad" role="alert">
          {failed.detail}
        </p>
      )}
      <div role="status">
        {found && (
          <p>
            <strong>{found.items.length}</strong> runs would be made; {found.had_runs} instants have one already.
          </p>
        )}
        {found && found.items.length > 0 && (
          <p class="faint">
            From <Time at={found.items[0].instant} mode="full" /> to{' '}
            <Time at={found.items[found.items.length - 1].instant} mode="full" />
          </p>
        )}
      </div>
      <div class="buttons">
        <button type="button" onClick={close}>
          Back
        </button>
        <Action run={() => guarded(async () => set_found(await ask(true)))}>Look what would run</Action>
        <Action
          kind="main"
          disabled={!found || found.items.length === 0}
          run={() =>
            guarded(async () => {
              const done = await ask(false);
              say(`${done.items.length} runs were made`, { link: `/runs?job=${encodeURIComponent(job)}` });
              close();
            })
          }>
          Backfill {found ? found.items.length : ''}
        </Action>
      </div>
    </Dialog>
  );
}

export function Schedule({ job }: { job: string }) {
  const [open, set_open] = useState(false);
  const list = use_resource('schedules', ['jobs'], signal => call<page<schedule>>('/schedules', { signal }), true);
  const next = use_resource(
    'next10' + job,
    ['jobs'],
    signal => call<instant[]>(`${path_of.schedule(job)}/next?count=10`, { signal }),
    true,
  );
  const known = list.data?.items.find(s => s.job === job);
  return (
    <Page
      title={
        <>
          Schedule of <a href={path_of.job(job)}>{job}</a>
        </>
      }
      sub={
        known && (
          <div class="sum">
            <State of={known.paused ? 'paused' : 'ready'} />
            <span>{known.text}</span>
          </div>
        )
      }
      actions={
        known && (
          <>
            <button type="button" onClick={() => set_open(true)}>
              Backfill…
            </button>
            <Action
              run={async () => {
                await pause(known);
                list.reload();
              }}>
              {known.paused ? 'Resume' : 'Pause'}
            </Action>
            <a class="button" href={`${path_of.job(job)}/edit`}>
              Edit
            </a>
          </>
        )
      }>
      <Part title="Next">
        <>{next.data ? <Instants of={next.data} /> : <Missing error={next.error} what="schedule" />}</>
      </Part>
      <Part title="Ledger" flush>
        <Ledger job={job} />
      </Part>
      {open && <Backfill job={job} close={() => set_open(false)} />}
    </Page>
  );
}
