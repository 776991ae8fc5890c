// The list of jobs, and one job: what it does, when it runs next, how its last runs went, and running it by hand.
import { useMemo, useState } from 'preact/hooks';
import { seen } from './ansi';
import { all, call, new_key, path_of, post, problem } from './api';
import type { instant, job, page, run } from './api';
import { use_resource } from './live';
import { go } from './router';
import { Definition, what_runs } from './run';
import { Instants } from './schedules';
import { Taken } from './runs';
import { duration } from './time';
import {
  Action,
  ActionsHead,
  Area,
  Confirm,
  Dialog,
  Facts,
  Field,
  JobLink,
  Missing,
  Page,
  Part,
  RunLink,
  RunState,
  Scroll,
  State,
  Time,
  colour_of,
  outcome,
  say,
  say_problem,
  short_id,
  value_of,
  word_of,
} from './ui';

const MOST = 500; // rows of the list

export async function pause_job(j: job): Promise<void> {
  await post(`${path_of.job(j.name)}/${j.paused ? 'resume' : 'pause'}`);
  say(j.paused ? `${j.name} runs again` : `${j.name} is paused: none of its runs starts`);
}

/// Asks for arguments, if it is a script that takes some, and goes to the new run.
export function RunJob({ of, close }: { of: job; close: () => void }) {
  const takes_args = of.definition.script !== undefined;
  const [args, set_args] = useState<string>(of.definition.args ?? '');
  const [failed, set_failed] = useState<problem>();
  const [busy, set_busy] = useState(false);
  // One for this question: a second click after an answer that was lost starts nothing twice.
  const key = useMemo(new_key, [args]);
  const start = async (e: Event) => {
    e.preventDefault();
    set_busy(true);
    try {
      const body = takes_args && args !== (of.definition.args ?? '') ? { args } : {};
      const made = await post<run>(`${path_of.job(of.name)}/run`, body, { 'Idempotency-Key': key });
      close();
      go(path_of.run(made.id));
    } catch (e) {
      set_busy(false);
      if (e instanceof problem && e.errors.length > 0) set_failed(e);
      else say_problem(e);
    }
  };
  return (
    <Dialog title={`Run ${of.name}`} close={close}>
      <form onSubmit={start} class="form">
        {takes_args ? (
          <Field
            label="Arguments"
            hint="Split into words as a shell does. Ctrl+Enter starts"
            error={failed?.errors[0]?.detail}
            wide>
            {p => <Area {...p} least={1} value={args} change={set_args} />}
          </Field>
        ) : (
          <p class="wide">
            It runs <code class="break">{what_runs(of.definition)}</code>
          </p>
        )}
        {of.paused && <p class="wide">The job is paused: the run will wait until it is resumed.</p>}
        <div class="buttons">
          <button type="button" onClick={close}>
            Back
          </button>
          <button class="main" disabled={busy}>
            Run now
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function Jobs() {
  const [wanted, set_wanted] = useState('');
  const [order, set_order] = useState<'name' | 'updated'>('name');
  const [started, set_started] = useState<job>();
  const jobs = use_resource('jobs', ['jobs'], signal => all<job>('/jobs', signal));
  const newest = use_resource('newest-of-jobs', ['runs'], signal => call<page<run>>('/runs?limit=500', { signal }));
  const last = new Map<string, run>();
  for (const r of newest.data?.items ?? []) if (!last.has(r.job)) last.set(r.job, r);
  const word = wanted.trim().toLowerCase();
  const shown = (jobs.data ?? []).filter(j => `${j.name} ${j.description}`.toLowerCase().includes(word));
  if (order === 'updated') shown.sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1));
  return (
    <Page
      title="Jobs"
      actions={
        <>
          <input
            type="search"
            aria-label="Search jobs"
            placeholder="Search jobs"
            data-search
            value={wanted}
            onInput={e => set_wanted(value_of(e))}
          />
          <select aria-label="Order" value={order} onChange={e => set_order(value_of(e) as 'name')}>
            <option value="name">by name</option>
            <option value="updated">by last change</option>
          </select>
          <a class="button main" href="/jobs:new">
            New job
          </a>
        </>
      }>
      {!jobs.data ? (
        <Missing error={jobs.error} what="jobs" />
      ) : jobs.data.length === 0 ? (
        <p class="empty">
          No job is stored. <a href="/jobs:new">Create one</a>, or <code>orchestrator job apply -f jobs/</code>
        </p>
      ) : (
        <Scroll label="Jobs">
          <table>
            <thead>
              <tr>
                <th>Job</th>
                <th>Schedule</th>
                <th>Last run</th>
                <th class="right">Took</th>
                <th class="right">When</th>
                <ActionsHead />
              </tr>
            </thead>
            <tbody>
              {shown.slice(0, MOST).map(j => {
                const r = last.get(j.name);
                return (
                  <tr key={j.name}>
                    <th scope="row">
                      <JobLink name={j.name} />
                      {j.paused && (
                        <>
                          {' '}
                          <State of="paused" />
                        </>
                      )}
                      <div class="faint thin">{seen(j.description)}</div>
                    </th>
                    <td class="faint">
                      {j.schedule ? <a href={path_of.schedule(j.name)}>{j.schedule.text}</a> : 'by hand'}
                      {j.schedule_paused && (
                        <>
                          {' '}
                          <State of="paused" />
                        </>
                      )}
                    </td>
                    <td>
                      {r ? (
                        <a class="bare" href={path_of.run(r.id)}>
                          <RunState run={r} />
                        </a>
                      ) : (
                        <span class="faint">{newest.data?.next_cursor === null ? 'never' : 'not lately'}</span>
                      )}
                    </td>
                    <td class="right num">{r && <Taken run={r} />}</td>
                    <td class="right num">{r && <Time at={r.submitted_at} />}</td>
                    <td class="right buttons">
                      <button type="button" class="small" aria-label={`Run ${j.name}`} onClick={() => set_started(j)}>
                        Run
                      </button>
                      <Action
                        kind="small"
                        run={async () => {
                          await pause_job(j);
                          jobs.reload();
                        }}>
                        {j.paused ? 'Resume' : 'Pause'}
                      </Action>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
          {shown.length === 0 && <p class="empty">No job matches.</p>}
          {shown.length > MOST && <p class="more">{shown.length - MOST} more: search for them.</p>}
        </Scroll>
      )}
      {started && <RunJob of={started} close={() => set_started(undefined)} />}
    </Page>
  );
}

// ---- one job

/// The last runs as bars, the oldest first: height is time, colour and word are the state.
function Strip({ runs }: { runs: run[] }) {
  const longest = Math.max(0.001, ...runs.map(r => r.duration_seconds ?? 0));
  return (
    <ol class="strip" aria-label={`The last ${runs.length} runs, oldest first`}>
      {[...runs].reverse().map(r => {
        const took = r.duration_seconds !== null ? `, ${duration(r.duration_seconds)}` : '';
        const text = `${short_id(r.id)}: ${word_of(r.state)} ${outcome(r)}${took}`;
        return (
          <li key={r.id}>
            <a href={path_of.run(r.id)} title={text} aria-label={text}>
              <span
                class={colour_of(r.state)}
                style={{ height: `${12 + 88 * Math.sqrt((r.duration_seconds ?? 0) / longest)}%` }}
              />
            </a>
          </li>
        );
      })}
    </ol>
  );
}

function LastRuns({ name }: { name: string }) {
  const { data, error } = use_resource('runs-of-' + name, ['runs'], signal =>
    call<page<run>>(`/runs?job=${encodeURIComponent(name)}&limit=30`, { signal }),
  );
  if (!data) return <Missing error={error} what="runs" />;
  if (data.items.length === 0) return <p class="empty">It has not run yet.</p>;
  const ended = data.items.filter(r => r.state === 'succeeded' || r.state === 'failed');
  const good = ended.filter(r => r.state === 'succeeded').length;
  const times = ended.map(r => r.duration_seconds ?? 0).sort((a, b) => a - b);
  return (
    <>
      <Strip runs={data.items} />
      {ended.length > 0 && (
        <p class="faint">
          {good} of {ended.length} succeeded; half of them took {duration(times[Math.floor(times.length / 2)])} or
          less
        </p>
      )}
      <Scroll label="Last runs">
        <table>
          <thead>
            <tr>
              <th>Run</th>
              <th>State</th>
              <th>Arguments</th>
              <th>Worker</th>
              <th class="right">Took</th>
              <th class="right">Submitted</th>
            </tr>
          </thead>
          <tbody>
            {data.items.slice(0, 10).map(r => (
              <tr key={r.id}>
                <td>
                  <RunLink id={r.id} />
                </td>
                <td>
                  <RunState run={r} />
                </td>
                <td class="mono break">{seen(r.args ?? '')}</td>
                <td class="faint">{r.attempts[r.attempts.length - 1]?.worker_id}</td>
                <td class="right num">
                  <Taken run={r} />
                </td>
                <td class="right num">
                  <Time at={r.submitted_at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      <p class="more">
        <a href={`/runs?job=${encodeURIComponent(name)}`}>All runs of {name}</a>
      </p>
    </>
  );
}

function DeleteJob({ of, close }: { of: job; close: () => void }) {
  const [cancel, set_cancel] = useState(false);
  return (
    <Confirm
      title={`Delete ${of.name}`}
      yes="Delete"
      close={close}
      run={async () => {
        await call(`${path_of.job(of.name)}${cancel ? '?cancel=1' : ''}`, { method: 'DELETE' });
        say(`${of.name} is deleted`);
        go('/jobs');
      }}>
      <p>Its schedule fires no more. Its past runs and their output stay until they are too old.</p>
      <label>
        <input type="checkbox" checked={cancel} onChange={e => set_cancel(e.currentTarget.checked)} /> Cancel its runs
        that have not ended
      </label>
    </Confirm>
  );
}

function Next({ name, key_of }: { name: string; key_of: string }) {
  const { data, error } = use_resource(
    'next-' + name + key_of,
    [`job/${name}`],
    signal => call<instant[]>(`${path_of.schedule(name)}/next?count=5`, { signal }),
    true,
  );
  return data ? <Instants of={data} /> : <Missing error={error} what="next runs" />;
}

export function Job({ name }: { name: string }) {
  const [dialog, set_dialog] = useState<'run' | 'delete' | ''>('');
  const { data, error, reload } = use_resource('job' + name, [`job/${name}`], signal =>
    call<job>(path_of.job(name), { signal }),
  );
  if (!data) {
    return (
      <Page title={name}>
        <Missing error={error} what="job" />
        {error?.status === 404 && (
          <Part title="Runs of this name">
            <LastRuns name={name} />
          </Part>
        )}
      </Page>
    );
  }
  const d = data.definition;
  return (
    <Page
      title={<span class="break">{name}</span>}
      sub={
        <div class="sum">
          {data.paused ? <State of="paused" /> : <State of="ready" />}
          {data.description && <span>{seen(data.description)}</span>}
        </div>
      }
      actions={
        <>
          <button type="button" class="main" onClick={() => set_dialog('run')}>
            Run
          </button>
          <a class="button" href={`${path_of.job(name)}/edit`}>
            Edit
          </a>
          <Action
            run={async () => {
              await pause_job(data);
              reload();
            }}>
            {data.paused ? 'Resume' : 'Pause'}
          </Action>
          <button type="button" class="danger" onClick={() => set_dialog('delete')}>
            Delete
          </button>
        </>
      }>
      <Part title="Last runs">
        <LastRuns name={name} />
      </Part>
      <div class="columns">
        <Part
          title="Definition"
          link={
            <span class="faint">
              version {data.version}, <Time at={data.updated_at} />
            </span>
          }>
          <Facts rows={[['Runs', <code class="break">{what_runs(d)}</code>]]} />
          <Definition of={d} without={['name', 'description', 'command', 'script', 'args', 'builtin', 'schedule']} />
        </Part>
        {data.schedule && (
          <Part title="Schedule" link={<a href={path_of.schedule(name)}>Ledger and backfill</a>}>
            <p>
              {data.schedule.text} {data.schedule_paused && <State of="paused" />}
            </p>
            <Next name={name} key_of={String(data.version)} />
          </Part>
        )}
      </div>
      {dialog === 'run' && <RunJob of={data} close={() => set_dialog('')} />}
      {dialog === 'delete' && <DeleteJob of={data} close={() => set_dialog('')} />}
    </Page>
  );
}
