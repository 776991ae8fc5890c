// One run: what became of it, why it waits, its attempts on a time line, its output, and what can be done about it.
import { useRef, useState } from 'preact/hooks';
import { seen } from './ansi';
import { call, new_key, path_of, post } from './api';
import type { attempt, reason, run } from './api';
import { now, use_resource } from './live';
import { LogView } from './log_view';
import { go } from './router';
import { Progress } from './overview';
import { retry_run } from './runs';
import { absolute, bytes, coarse, duration } from './time';
import {
  Action,
  Confirm,
  Dialog,
  Facts,
  JobLink,
  Missing,
  Page,
  Part,
  RunLink,
  RunState,
  Scroll,
  State,
  Tags,
  Time,
  copy,
  say,
  short_id,
  zone,
} from './ui';
import { command_of, join_words } from './words';

const is_final = (r: run) => r.finished_at !== null;

// ---- why it waits

interface why {
  reasons: reason[];
}

function Holder({ name }: { name: string }) {
  const [kind, id] = [name.slice(0, name.indexOf('/')), name.slice(name.indexOf('/') + 1)];
  return <span class="tag">{kind === 'run' ? <RunLink id={id} /> : name}</span>;
}

function Why({ of }: { of: run }) {
  const { data } = use_resource(
    'why' + of.id,
    [`run/${of.id}`, 'runs', 'workers', 'queues', 'jobs'],
    signal => call<why>(`/runs/${of.id}/why`, { signal }),
    true,
  );
  // That it runs is said above already.
  const reasons = (data?.reasons ?? []).filter(r => r.code !== 'active');
  if (reasons.length === 0) return null;
  return (
    <Part title={of.state === 'active' ? 'What holds it up' : 'Why it waits'}>
      <ul class="why">
        {reasons.map(r => (
          <li key={r.code}>
            <p>
              <strong>{r.code.replaceAll('_', ' ')}</strong>: {r.detail}
              {r.until && (
                <span class="faint">
                  {' '}
                  {r.forecast === 'at_most' ? 'At the latest ' : ''}
                  <Time at={r.until} />
                </span>
              )}
            </p>
            {r.remedy && <p class="faint">{r.remedy}</p>}
            {r.holders.length > 0 && (
              <p>
                {r.holders.map(h => (
                  <Holder key={h} name={h} />
                ))}
              </p>
            )}
          </li>
        ))}
      </ul>
    </Part>
  );
}

// ---- the attempts on a line of time

function Bar({
  from,
  to,
  start,
  span,
  kind,
  label,
}: {
  from: number;
  to: number;
  start: number;
  span: number;
  kind: string;
  label: string;
}) {
  const left = ((from - start) / span) * 100;
  const width = Math.max(0.4, ((to - from) / span) * 100);
  return (
    <span
      class={`bar-part ${kind}`}
      title={label}
      style={{ left: `${Math.min(99.6, left)}%`, width: `${Math.min(width, 100 - left)}%` }}
    />
  );
}

function Timeline({ of }: { of: run }) {
  const start = Date.parse(of.submitted_at);
  const end = is_final(of) ? Date.parse(of.finished_at!) : now.value;
  const span = Math.max(1, end - start);
  return (
    <div class="timeline" aria-hidden="true">
      {of.attempts.map(a => {
        const offered = Date.parse(a.offered_at);
        const began = a.started_at ? Date.parse(a.started_at) : null;
        const ended = a.finished_at ? Date.parse(a.finished_at) : end;
        return (
          <div class="lane" key={a.number}>
            <Bar from={offered} to={began ?? ended} start={start} span={span} kind="grey" label="offered" />
            {began !== null && (
              <Bar
                from={began}
                to={ended}
                start={start}
                span={span}
                kind={kind_of(a)}
                label={`attempt ${a.number}: ${a.state}`}
              />
            )}
          </div>
        );
      })}
      <div class="scale">
        <span>{absolute(of.submitted_at, zone.value === 'utc')}</span>
        <span>{is_final(of) ? duration(span / 1000) : coarse(span / 1000)}</span>
      </div>
    </div>
  );
}

const kind_of = (a: attempt) =>
  ({ succeeded: 'green', failed: 'red', timed_out: 'red', running: 'blue', lost: 'violet' })[a.state] ?? 'amber';

const ended_how = (a: attempt) =>
  a.exit_code !== null ? `exit ${a.exit_code}` : a.signal !== null ? `signal ${a.signal}` : '';

function Attempts({ of }: { of: run }) {
  if (of.attempts.length === 0) return <p class="empty">None yet.</p>;
  return (
    <>
      <Timeline of={of} />
      <Scroll label="Attempts">
        <table>
          <thead>
            <tr>
              <th class="right">Attempt</th>
              <th>State</th>
              <th>Ended by</th>
              <th>Worker</th>
              <th class="right">Lease</th>
              <th class="right">Started</th>
              <th class="right">Took</th>
              <th class="right">CPU</th>
              <th class="right">Memory</th>
              <th class="right">Output</th>
            </tr>
          </thead>
          <tbody>
            {of.attempts.map(a => (
              <tr key={a.number}>
                <td class="right num">{a.number}</td>
                <td>
                  <State
                    of={a.state}
                    note={a.late ? 'heard late' : a.superseded_status ? `superseded: ${a.superseded_status}` : ''}
                  />
                </td>
                <td>
                  {ended_how(a)}
                  {a.reason && a.reason !== 'exit_code' && ` ${a.reason.replaceAll('_', ' ')}`}
                  {a.error && <div class="bad break">{seen(a.error)}</div>}
                </td>
                <td>{a.worker_id}</td>
                <td class="right num">{a.lease}</td>
                <td class="right num">
                  <Time at={a.started_at} mode="short" />
                </td>
                <td class="right num">{a.duration_seconds !== null ? duration(a.duration_seconds) : '–'}</td>
                <td class="right num">{a.cpu_seconds !== null ? duration(a.cpu_seconds) : '–'}</td>
                <td class="right num">{a.max_rss_bytes !== null ? bytes(a.max_rss_bytes) : '–'}</td>
                <td class="right num">{bytes(Object.values(a.output_bytes).reduce((x, y) => x + y, 0))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}

// ---- what it was told to do

export function what_runs(spec: Record<string, any> | null | undefined): string {
  if (!spec) return '';
  if (spec.command) return seen(join_words(spec.command));
  if (spec.script) return seen(spec.script + (spec.args ? ' ' + spec.args : ''));
  return spec.builtin ? `builtin ${spec.builtin}` : '';
}

/// The definition's other keys as JSON has them.
export function Definition({ of, without }: { of: Record<string, unknown>; without: string[] }) {
  const rest = Object.entries(of).filter(([key]) => !without.includes(key));
  return (
    <Facts
      rows={rest.map(([key, v]) => [
        key.replaceAll('_', ' '),
        <span class="mono break">{seen(typeof v === 'string' ? v : JSON.stringify(v))}</span>,
      ])}
    />
  );
}

function About({ of }: { of: run }) {
  return (
    <>
      <Facts
        rows={[
          ['Runs', <code class="break">{what_runs(of.spec)}</code>],
          ['Arguments', of.args !== null && <code class="break">{seen(of.args)}</code>],
          [
            'Id',
            <>
              <code class="break">{of.id}</code>{' '}
              <button type="button" class="small" onClick={() => void copy(of.id)}>
                Copy
              </button>
            </>,
          ],
          ['Job version', of.job_version ?? 'a run of its own'],
          ['Submitted', <Time at={of.submitted_at} mode="full" />],
          ['Instant of its schedule', of.instant && <Time at={of.instant} mode="full" />],
          ['Not before', of.not_before && <Time at={of.not_before} mode="full" />],
          ['Finished', of.finished_at && <Time at={of.finished_at} mode="full" />],
          ['Retry of', of.retry_of && <RunLink id={of.retry_of} />],
          [
            'Waits for',
            of.after.length > 0 &&
              of.after.map(d => (
                <span class="tag" key={d.run}>
                  <RunLink id={d.run} /> {d.on}
                </span>
              )),
          ],
          ['Queue and priority', `${of.queue}, ${of.priority}`],
          ['Tags', Object.keys(of.tags).length > 0 && <Tags of={of.tags} />],
        ]}
      />
      {of.spec && (
        <Definition of={of.spec} without={['command', 'script', 'args', 'builtin', 'queue', 'priority', 'tags']} />
      )}
    </>
  );
}

// ---- actions

function Resolve({ of, close, done }: { of: run; close: () => void; done: () => void }) {
  const as = (state: string) => async () => {
    await post(`/runs/${of.id}/resolve`, { as: state });
    say(`Settled as ${state}`);
    done();
    close();
  };
  return (
    <Dialog title="How did it end?" close={close}>
      <p>Nobody can know how this run ended. What you say is final, and a late result changes it no more.</p>
      <div class="buttons">
        <button type="button" onClick={close}>
          Back
        </button>
        <Action run={as('succeeded')}>Succeeded</Action>
        <Action run={as('failed')}>Failed</Action>
        <Action run={as('cancelled')}>Cancelled</Action>
      </div>
    </Dialog>
  );
}

function Actions({ of, reload }: { of: run; reload: () => void }) {
  const [dialog, set_dialog] = useState<'cancel' | 'resolve' | ''>('');
  const act = (verb: string, said: string, body?: unknown) => async () => {
    await post(`/runs/${of.id}/${verb}`, body);
    say(said);
    reload();
  };
  // Renewed when a run was made: a second click after an answer that was lost starts nothing twice.
  const key = useRef(new_key());
  const waits = of.state === 'queued' || of.state === 'retry_wait';
  return (
    <>
      <button type="button" onClick={() => void copy(command_of(of))} title={command_of(of)}>
        Copy as command
      </button>
      {waits &&
        (of.held ? (
          <Action run={act('release', 'Released')}>Release</Action>
        ) : (
          <Action run={act('hold', 'Held')}>Hold</Action>
        ))}
      {waits && of.after.length > 0 && (
        <Action run={act('release', 'It waits for other runs no longer', { after: true })}>
          Do not wait for others
        </Action>
      )}
      {of.state === 'unknown' && (
        <button type="button" onClick={() => set_dialog('resolve')}>
          Settle…
        </button>
      )}
      {is_final(of) && (
        <Action
          kind="main"
          run={async () => {
            const made = await retry_run(of.id, key.current);
            key.current = new_key();
            say(`Started again as ${short_id(made.id)}`);
            go(path_of.run(made.id));
          }}>
          Retry
        </Action>
      )}
      {!is_final(of) && (
        <button type="button" class="danger" disabled={of.cancel_requested} onClick={() => set_dialog('cancel')}>
          {of.cancel_requested ? 'Cancelling…' : 'Cancel'}
        </button>
      )}
      {dialog === 'cancel' && (
        <Confirm
          title="Cancel this run"
          yes="Cancel it"
          close={() => set_dialog('')}
          run={act('cancel', 'Cancelling')}>
          <p>
            {of.state === 'active' ? 'Its process is told to end, and killed if it does not.' : 'It will not start.'}
          </p>
        </Confirm>
      )}
      {dialog === 'resolve' && <Resolve of={of} close={() => set_dialog('')} done={reload} />}
    </>
  );
}

export function Run({ id }: { id: string }) {
  // An address may have a part of an id or a job's name; topics need the whole id.
  const { data, error, reload } = use_resource('run' + id, ['runs'], signal =>
    call<run>(`/runs/${encodeURIComponent(id)}`, { signal }),
  );
  if (!data)
    return (
      <Page title={`Run ${short_id(id)}`}>
        <Missing error={error} what="run" />
      </Page>
    );
  return (
    <Page
      title={
        <>
          <JobLink name={data.job} /> <span class="faint mono">{short_id(data.id)}</span>
        </>
      }
      sub={
        <div class="sum">
          <span aria-live="polite">
            <RunState run={data} />
          </span>
          {data.state === 'active' && <Progress run={data} />}
          {data.duration_seconds !== null && <span>took {duration(data.duration_seconds)}</span>}
          {data.attempts.length > 0 && <span>on {data.attempts[data.attempts.length - 1].worker_id}</span>}
          <span class="faint">
            submitted <Time at={data.submitted_at} />
          </span>
        </div>
      }
      actions={<Actions of={data} reload={reload} />}>
      {!is_final(data) && <Why of={data} />}
      <Part title="Output">
        <LogView key={data.id} id={data.id} attempts={data.attempts} />
      </Part>
      <Part title="Attempts">
        <Attempts of={data} />
      </Part>
      <Part title="About this run">
        <About of={data} />
      </Part>
    </Page>
  );
}
