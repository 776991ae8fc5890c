// The first page: what waits, what runs, what fails, what comes next, and who is there to do it.
import { all, call } from './api';
import type { page, run, schedule, server_status, worker } from './api';
import { now, use_resource } from './live';
import { coarse, parse_duration, relative } from './time';
import { Elapsed, JobLink, Missing, Page, Part, RunLink, RunState, Scroll, State, Time, outcome } from './ui';
import { path_of } from './api';
import { WorkerState, Slots } from './workers';

interface counts {
  status: server_status;
  failed: page<run>;
  waiting: page<run>;
  running: run[];
}

async function load(signal: AbortSignal): Promise<counts> {
  const get = <T,>(path: string) => call<T>(path, { signal });
  const [status, failed, waiting, running] = await Promise.all([
    get<server_status>('/status'),
    get<page<run>>('/runs?state=failed&since=24h&limit=500'),
    get<page<run>>('/runs?state=queued,retry_wait&limit=500'),
    all<run>('/runs?state=active', signal, 500),
  ]);
  return { status, failed, waiting, running };
}

function Tile({
  name,
  value,
  to,
  kind = '',
  note,
  ticks,
}: {
  name: string;
  value: string;
  to: string;
  kind?: string;
  note?: string;
  ticks?: boolean;
}) {
  return (
    <a class={`tile ${kind}`} href={to}>
      <span class="value num" aria-live={ticks ? 'off' : undefined}>
        {value}
      </span>
      <span class="name">{name}</span>
      {note && <span class="note">{note}</span>}
    </a>
  );
}

const many = (p: page<unknown>) => p.items.length + (p.next_cursor === null ? '' : '+');

function Tiles({ of }: { of: counts }) {
  const { runs } = of.status;
  const oldest = of.waiting.items[of.waiting.items.length - 1];
  const age = oldest ? (now.value - Date.parse(oldest.submitted_at)) / 1000 : 0;
  const failed = of.failed.items.length;
  return (
    <div class="tiles" role="group" aria-label="Counts" aria-live="polite">
      <Tile
        name="Queued"
        value={String(runs.queued + runs.retry_wait)}
        to="/runs?state=queued,retry_wait"
        note={runs.retry_wait > 0 ? `${runs.retry_wait} wait to be retried` : undefined}
      />
      <Tile name="Running" value={String(runs.active)} to="/runs?state=active" kind={runs.active > 0 ? 'blue' : ''} />
      <Tile
        name="Failed, 24 h"
        value={many(of.failed)}
        to="/runs?state=failed&since=24h"
        kind={failed > 0 ? 'red' : ''}
        note={runs.unknown > 0 ? `${runs.unknown} unknown` : undefined}
      />
      <Tile
        name="Oldest waiting"
        value={!oldest ? '–' : (of.waiting.next_cursor === null ? '' : '> ') + coarse(Math.max(0, age))}
        to={oldest ? path_of.run(oldest.id) : '/runs?state=queued,retry_wait'}
        note={oldest?.job}
        ticks
      />
    </div>
  );
}

/// Time used, as a part of the time that it has.
export function Progress({ run }: { run: run }) {
  const last = run.attempts[run.attempts.length - 1];
  const since = last?.started_at ?? run.started_at;
  if (!since) return <span class="faint">starting</span>;
  const limit = parse_duration(String(run.spec?.timeout ?? '1h')) ?? 3600;
  const used = Math.max(0, (now.value - Date.parse(since)) / 1000);
  return (
    <span class="meter" title={`of ${coarse(limit)} that it may take`}>
      <progress max={limit} value={Math.min(used, limit)} aria-label={`time used of ${coarse(limit)}`} />
      <span class="num">
        <Elapsed since={since} />
      </span>
    </span>
  );
}

const SHOWN = 12; // rows of a list here; the rest is on its own page

function All({ of, at }: { of: number; at: string }) {
  if (of <= SHOWN) return null;
  return (
    <p class="more">
      <a href={at}>All {of}</a>
    </p>
  );
}

function Running({ runs }: { runs: run[] }) {
  if (runs.length === 0) return <p class="empty">Nothing runs now.</p>;
  return (
    <Scroll label="Running now">
      <table>
        <thead>
          <tr>
            <th>Run</th>
            <th>Job</th>
            <th>Worker</th>
            <th>Time used</th>
          </tr>
        </thead>
        <tbody>
          {runs.slice(0, SHOWN).map(r => (
            <tr key={r.id}>
              <td>
                <RunLink id={r.id} />
              </td>
              <td>
                <JobLink name={r.job} />
                {r.attempts.length > 1 && <span class="faint"> attempt {r.attempts.length}</span>}
              </td>
              <td>{r.attempts[r.attempts.length - 1]?.worker_id}</td>
              <td>
                <Progress run={r} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <All of={runs.length} at="/runs?state=active" />
    </Scroll>
  );
}

function Failing({ runs }: { runs: run[] }) {
  if (runs.length === 0) return <p class="empty">Nothing failed in the last 24 hours.</p>;
  const by_job = new Map<string, { count: number; last: run }>();
  for (const r of runs) {
    const known = by_job.get(r.job);
    if (known) ++known.count;
    else by_job.set(r.job, { count: 1, last: r });
  }
  const rows = [...by_job].sort(([, a], [, b]) => b.count - a.count || (a.last.id < b.last.id ? 1 : -1)).slice(0, 8);
  return (
    <Scroll label="Failing">
      <table>
        <thead>
          <tr>
            <th>Job</th>
            <th class="right">Failures</th>
            <th>Last</th>
            <th>Why</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, { count, last }]) => (
            <tr key={name}>
              <td>
                <JobLink name={name} />
              </td>
              <td class="right num">
                <a href={`/runs?state=failed&job=${encodeURIComponent(name)}&since=24h`}>{count}</a>
              </td>
              <td>
                <RunLink id={last.id} /> <Time at={last.finished_at} />
              </td>
              <td>
                <State of="failed" note={outcome(last)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Next() {
  const { data, error } = use_resource(
    'next',
    ['jobs'],
    signal => call<page<schedule>>('/schedules', { signal }),
    true,
  );
  if (!data) return <Missing error={error} what="schedules" />;
  const rows = data.items
    .filter(s => s.next.length > 0 && !s.paused)
    .sort((a, b) => (a.next[0].utc < b.next[0].utc ? -1 : 1))
    .slice(0, 8);
  if (rows.length === 0) return <p class="empty">No schedule will fire.</p>;
  return (
    <Scroll label="Next schedules">
      <table>
        <thead>
          <tr>
            <th>Job</th>
            <th>When</th>
            <th class="right">Starts</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(s => (
            <tr key={s.job}>
              <td>
                <a class="name" href={path_of.schedule(s.job)}>
                  {s.job}
                </a>
              </td>
              <td class="faint">{s.text}</td>
              <td class="right num" title={s.next[0].instant}>
                {relative(Date.parse(s.next[0].utc), now.value)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Workers() {
  const { data, error } = use_resource(
    'workers',
    ['workers', 'runs'],
    signal => all<worker>('/workers', signal),
    true,
  );
  if (!data) return <Missing error={error} what="workers" />;
  if (data.length === 0) {
    return (
      <p class="empty">
        No worker has connected. Start one: <code>orchestrator --role=worker --server {location.host}</code>
      </p>
    );
  }
  return (
    <Scroll label="Workers">
      <table>
        <thead>
          <tr>
            <th>Worker</th>
            <th>State</th>
            <th>Slots used</th>
            <th class="right">Heard</th>
          </tr>
        </thead>
        <tbody>
          {data.slice(0, SHOWN).map(w => (
            <tr key={w.worker_id}>
              <td class="name">{w.worker_id}</td>
              <td>
                <WorkerState of={w} />
              </td>
              <td>
                <Slots of={w} />
              </td>
              <td class="right num">
                <Time at={w.last_seen} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <All of={data.length} at="/workers" />
    </Scroll>
  );
}

function Newest() {
  const { data, error } = use_resource('newest', ['runs'], signal => call<page<run>>('/runs?limit=8', { signal }));
  if (!data) return <Missing error={error} what="runs" />;
  if (data.items.length === 0) {
    return (
      <p class="empty">
        Nothing has run yet. <a href="/jobs:new">Create a job</a>, or try{' '}
        <code>orchestrator submit -- echo hello</code>
      </p>
    );
  }
  return (
    <Scroll label="Newest runs">
      <table>
        <thead>
          <tr>
            <th>Run</th>
            <th>Job</th>
            <th>State</th>
            <th class="right">Submitted</th>
          </tr>
        </thead>
        <tbody>
          {data.items.map(r => (
            <tr key={r.id}>
              <td>
                <RunLink id={r.id} />
              </td>
              <td>
                <JobLink name={r.job} />
              </td>
              <td>
                <RunState run={r} />
              </td>
              <td class="right num">
                <Time at={r.submitted_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

export function Overview() {
  const { data, error } = use_resource('overview', ['runs'], load, true);
  return (
    <Page title="Overview">
      {data && data.status.disk !== 'ok' && (
        <p class="banner bad" role="alert">
          {data.status.disk === 'low'
            ? "The coordinator's disk is nearly full: new work is refused and the output of jobs is dropped."
            : "The coordinator's disk is full: nothing is stored."}
        </p>
      )}
      {data ? <Tiles of={data} /> : <Missing error={error} what="counts" />}
      <div class="columns">
        <Part title="Running now" link={<a href="/runs?state=active">Runs</a>} flush>
          {data ? <Running runs={data.running} /> : <Missing error={error} what="runs" />}
        </Part>
        <Part title="Failing" link={<a href="/runs?state=failed&since=24h">All failed</a>} flush>
          {data ? <Failing runs={data.failed.items} /> : <Missing error={error} what="runs" />}
        </Part>
        <Part title="Next schedules" link={<a href="/schedules">Schedules</a>} flush>
          <Next />
        </Part>
        <Part title="Workers" link={<a href="/workers">Workers</a>} flush>
          <Workers />
        </Part>
        <Part title="Newest runs" link={<a href="/runs">Runs</a>} flush>
          <Newest />
        </Part>
      </div>
    </Page>
  );
}
